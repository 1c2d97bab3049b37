//! Timeouts and delays of a stream of changes.

use std::{collections::hash_map::RandomState, hash::BuildHasher, time::Duration};

/// Timeouts and delays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Maximum time until the API server answers a request.
    pub request: Duration,
    /// A connection without an event for this time is replaced; it can be dead.
    pub idle: Duration,
    /// A streaming list without an event for this time is replaced by a list in pages.
    pub list: Duration,
    /// Time after which the API server closes a watch.
    pub watch: Duration,
    /// Delay after the first failure. It doubles with each further failure.
    pub min_delay: Duration,
    pub max_delay: Duration,
}

/// `timeoutSeconds` of a watch, in seconds. The default of kube.
pub(super) const WATCH_TIMEOUT: u32 = 290;

/// The API server may close a watch this much before its timeout.
pub(super) const MARGIN: Duration = Duration::from_secs(5);

// === impl Pace ===

impl Pace {
    /// The API server limits most requests to 60 s, sends a bookmark every 60 s if there was a change, and keeps changes for
    /// at least 75 s in its watch cache.
    pub(super) const DEFAULT: Self = Self {
        request: Duration::from_secs(65),
        idle: Duration::from_secs(70),
        list: Duration::from_secs(10),
        watch: Duration::from_secs(WATCH_TIMEOUT as u64),
        min_delay: Duration::from_millis(100),
        max_delay: Duration::from_secs(10),
    };

    /// Delay after a number of consecutive failures, with jitter: between half of it and all of it.
    pub(super) fn delay(&self, failures: u32) -> Duration {
        let factor = 1 << failures.saturating_sub(1).min(16);
        let delay = self.min_delay.saturating_mul(factor).min(self.max_delay);
        let random = RandomState::new().hash_one(()) % 1000;
        delay / 2 + delay.mul_f64(random as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_100_ms_to_10_s() {
        for (failures, milliseconds) in
            [(1, 100), (2, 200), (5, 1600), (7, 6400), (8, 10_000), (u32::MAX, 10_000)]
        {
            let delay = Duration::from_millis(milliseconds);
            for _ in 0..100 {
                let jittered = Pace::DEFAULT.delay(failures);
                assert!((delay / 2..=delay).contains(&jittered), "{jittered:?} after {failures} failures");
            }
        }
    }
}
