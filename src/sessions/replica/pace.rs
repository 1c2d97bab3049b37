//! When the leader saves.

use std::time::Duration;

use tokio::time::Instant;

/// Minimum time between two saves. The metrics show a change after this time at most, if the state is small.
const INTERVAL: Duration = Duration::from_secs(5);

/// Minimum time between two saves of a new leader, and the time for which it is new. If leaders follow each other quickly, each saves what
/// happened meanwhile, so that the resource version of the saved state does not become too old.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);
const FIRST_TIME: Duration = Duration::from_secs(15);

/// Bytes per second that the leader writes on average. etcd keeps each write until its next compaction, by default for 5 minutes: 60 MB.
const BYTES_PER_SECOND: usize = 200_000;

/// The last save.
#[derive(Debug)]
pub(super) struct SavePace {
    began: Instant,
    /// Earliest time of the next save.
    next: Instant,
}

// === impl SavePace ===

impl SavePace {
    /// The first save has no delay.
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, next: now }
    }

    /// Whether a save is possible now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// A save of this number of bytes was tried.
    pub(super) fn tried(&mut self, bytes: usize, now: Instant) {
        let is_new = now < self.began + FIRST_TIME;
        let budget = Duration::from_millis((bytes * 1000 / BYTES_PER_SECOND) as u64);
        let delay = if is_new { FIRST_INTERVAL } else { budget.max(INTERVAL) };
        self.next = now + delay;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_has_a_minimum_interval_and_a_budget_of_bytes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = SavePace::new(start);
        assert!(pace.is_due(start));
        pace.tried(4_000_000, start);
        assert!(pace.is_due(at(1)), "a new leader");
        pace.tried(1000, at(20));
        assert!(!pace.is_due(at(24)) && pace.is_due(at(25)));
        pace.tried(4_000_000, at(25));
        assert!(!pace.is_due(at(44)) && pace.is_due(at(45)));
    }
}
