//! Counted sessions whose pod the watch no longer shows.

use std::{collections::HashSet, mem};

/// UIDs that one generation remembers.
const GENERATION: usize = 2048;

/// UIDs of counted sessions that left the watch and may come back, because the watch selects by label and a pod can regain
/// its label. A session that comes back is not counted again.
///
/// The memory is bounded: between 2048 and 4096 of the latest UIDs are remembered, about 0.3 MiB. A session that comes
/// back after so many others have left is counted twice.
#[derive(Debug, Default)]
pub(super) struct Departed {
    recent: HashSet<String>,
    older: HashSet<String>,
}

// === impl Departed ===

impl Departed {
    pub(super) fn insert(&mut self, uid: String) {
        if self.recent.len() == GENERATION {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(uid);
    }

    /// Forgets a UID. Returns whether it was remembered.
    pub(super) fn remove(&mut self, uid: &str) -> bool {
        self.recent.remove(uid) || self.older.remove(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_uids_are_forgotten_first() {
        let mut departed = Departed::default();
        for number in 0..10_000 {
            departed.insert(number.to_string());
        }
        assert!(departed.recent.len() + departed.older.len() <= 2 * GENERATION);
        assert!((10_000 - GENERATION..10_000).all(|number| departed.remove(&number.to_string())));
        assert!(!departed.remove("0") && !departed.remove("9999"), "unknown or removed already");
    }
}
