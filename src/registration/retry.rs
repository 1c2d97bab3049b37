//! When the leader tries again.

use std::time::Duration;

use tokio::time::Instant;

/// Delay after the first failure. Each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);

/// Maximum delay.
const LONGEST: Duration = Duration::from_secs(60);

/// Time for the watch to show a write.
const SHOWN: Duration = Duration::from_secs(5);

/// A write so soon after the last one means that another program undoes the writes. The steps of a rotation are further apart.
const QUIET: Duration = Duration::from_secs(8);

/// The delays of the writes of one object.
#[derive(Debug)]
pub(super) struct Retry {
    next: Instant,
    last: Option<Instant>,
    delay: Duration,
}

// === impl Retry ===

impl Retry {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, last: None, delay: FIRST }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// The watch shows a change, so it is not necessary to wait for it any more. A delay after a failure continues.
    pub(super) fn shown(&mut self, now: Instant) {
        if self.last.is_some_and(|last| self.next == last + SHOWN) {
            self.next = now;
        }
    }

    /// A write succeeded. If it is one of many, another program undoes the writes, and each waits longer.
    pub(super) fn succeeded(&mut self, now: Instant) {
        let is_repeated = self.last.is_some_and(|last| now < last + QUIET.max(2 * self.delay));
        self.last = Some(now);
        if is_repeated {
            self.failed(now);
        } else {
            (self.next, self.delay) = (now + SHOWN, FIRST);
        }
    }

    /// A write failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next = now + self.delay;
        self.delay = (self.delay * 2).min(LONGEST);
    }
}
