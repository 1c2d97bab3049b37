//! Counted sessions with a pod that the watch no longer shows.

use std::{collections::HashSet, mem};

/// Maximum number of UIDs in one generation.
const GENERATION: usize = 2048;

/// UIDs of counted sessions that the watch no longer shows but may show again: the watch selects by label, and a pod can
/// regain its label. Such a session is not counted again.
///
/// The memory is bounded: two generations with at most 4096 UIDs, about 0.3 MiB. At least the latest 2048 UIDs are
/// remembered. A session that appears again after more than 2048 other sessions have left the watch may be counted twice.
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
