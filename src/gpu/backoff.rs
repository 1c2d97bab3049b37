//! When to open the library again. Pure. Pauses are counted in polls, because the library is opened at polls only.

/// Pauses between attempts. After 1, 2, 3, ... consecutive failures it skips 0, 1, 3, 7 polls, then [`MAX_SKIPPED_POLLS`]
/// each time.
#[derive(Debug)]
pub(super) struct Backoff<T> {
    failures: u32,
    /// Cause of the current pause, and how many polls of it are left.
    pause: Option<(T, u32)>,
}

/// Four minutes at 15 s: opening can cost 1.5 s of driver time where persistence mode is off.
const MAX_SKIPPED_POLLS: u32 = 15;

// === impl Backoff ===

impl<T> Default for Backoff<T> {
    fn default() -> Self {
        Self { failures: 0, pause: None }
    }
}

impl<T: Copy> Backoff<T> {
    /// Records a failed attempt and starts a pause.
    pub(super) fn failed(&mut self, cause: T) {
        let polls = 1u32
            .checked_shl(self.failures)
            .map_or(MAX_SKIPPED_POLLS, |polls| (polls - 1).min(MAX_SKIPPED_POLLS));
        self.failures = self.failures.saturating_add(1);
        self.pause = Some((cause, polls));
    }

    /// Records a success: the next failure starts with the shortest pause.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Cause of the pause that this poll belongs to. None means that an attempt is due now.
    pub(super) fn pause(&mut self) -> Option<T> {
        let (cause, polls) = self.pause.as_mut()?;
        *polls = polls.checked_sub(1)?;
        Some(*cause)
    }

    /// Whether an attempt is due at this poll, for a `cause` that lasts over many polls. Each attempt counts as a failure
    /// until [`Self::succeeded`] is called.
    pub(super) fn is_due(&mut self, cause: T) -> bool {
        if self.pause.is_none() {
            self.failed(cause);
        }
        if self.pause().is_some() {
            return false;
        }
        self.pause = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSE: &str = "driver not loaded";

    fn skipped_polls(backoff: &mut Backoff<&str>) -> u32 {
        (0..).find(|_| backoff.pause().is_none()).unwrap()
    }

    #[test]
    fn pauses_start_at_zero_and_grow_up_to_the_limit() {
        let mut backoff = Backoff::default();
        assert_eq!(skipped_polls(&mut backoff), 0);
        let skipped: Vec<u32> = (0..40)
            .map(|_| {
                backoff.failed(CAUSE);
                skipped_polls(&mut backoff)
            })
            .collect();
        assert_eq!(skipped[..6], [0, 1, 3, 7, 15, 15]);
        assert_eq!(skipped[39], 15);
    }

    #[test]
    fn success_resets_the_pauses() {
        let mut backoff = Backoff::default();
        backoff.failed(CAUSE);
        backoff.failed(CAUSE);
        assert_eq!(backoff.pause(), Some(CAUSE));
        backoff.succeeded();
        assert_eq!(backoff.pause(), None);
        backoff.failed(CAUSE);
        assert_eq!(skipped_polls(&mut backoff), 0);
    }

    #[test]
    fn a_lasting_cause_makes_attempts_due_at_growing_intervals() {
        let mut backoff = Backoff::default();
        let mut due = vec![];
        for poll in 0..30 {
            if backoff.is_due(CAUSE) {
                due.push(poll);
                assert_eq!(backoff.pause(), None, "the attempt itself is not delayed");
            }
        }
        assert_eq!(due, [0, 2, 6, 14]);
    }
}
