//! Values of pods that the watch no longer shows.

use std::{collections::HashMap, mem};

/// Maximum number of values in one generation.
const GENERATION: usize = 2048;

/// Values by the UID of a pod, of which the oldest are forgotten. At least the latest 2048 and at most 4096 values are
/// remembered.
#[derive(Debug)]
pub(super) struct Recent<T> {
    current: HashMap<String, T>,
    older: HashMap<String, T>,
}

// === impl Recent ===

impl<T> Recent<T> {
    pub(super) fn insert(&mut self, uid: String, value: T) {
        self.older.remove(&uid);
        if self.current.len() == GENERATION {
            self.older = mem::take(&mut self.current);
        }
        self.current.insert(uid, value);
    }

    pub(super) fn get(&self, uid: &str) -> Option<&T> {
        self.current.get(uid).or_else(|| self.older.get(uid))
    }

    /// Forgets a value and returns it.
    pub(super) fn remove(&mut self, uid: &str) -> Option<T> {
        self.current.remove(uid).or_else(|| self.older.remove(uid))
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { current: HashMap::new(), older: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_values_are_forgotten_first() {
        let mut recent = Recent::default();
        for number in 0..10_000 {
            recent.insert(number.to_string(), number);
        }
        assert!(recent.current.len() + recent.older.len() <= 2 * GENERATION);
        for number in 10_000 - GENERATION..10_000 {
            assert_eq!(recent.remove(&number.to_string()), Some(number));
        }
        assert_eq!((recent.get("0"), recent.get("9999")), (None, None), "forgotten or removed already");
    }

    #[test]
    fn a_value_that_is_inserted_again_replaces_the_older_one() {
        let mut recent = Recent::default();
        recent.insert("a".to_owned(), 1);
        for number in 0..GENERATION {
            recent.insert(number.to_string(), 0);
        }
        recent.insert("a".to_owned(), 2);
        assert_eq!((recent.remove("a"), recent.get("a")), (Some(2), None));
    }
}
