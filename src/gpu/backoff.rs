//! Decides when to open the library again. Pure. Pauses are counted in polls, because only a poll opens the library.

/// Pauses between attempts. After the first failure no poll is skipped. After the next consecutive failures 1, 3 and 7 polls
/// are skipped, then [`MAX_SKIPPED_POLLS`] after each failure.
#[derive(Debug)]
pub(super) struct Backoff<T> {
    failures: u32,
    /// Cause of the current pause, and the number of polls that are still skipped; none if the last attempt succeeded.
    pause: Option<(T, u32)>,
}

/// Maximum number of polls that one pause skips: four minutes at an interval of 15 s. Opening the library can cost 1.5 s of
/// driver time if persistence mode is off.
const MAX_SKIPPED_POLLS: u32 = 15;

// === impl Backoff ===

impl<T> Default for Backoff<T> {
    fn default() -> Self {
        Self { failures: 0, pause: None }
    }
}

impl<T: Copy> Backoff<T> {
    /// Records a failed attempt and starts a pause.
    pub(super) fn record_failure(&mut self, cause: T) {
        let polls = 1u32
            .checked_shl(self.failures)
            .map_or(MAX_SKIPPED_POLLS, |polls| (polls - 1).min(MAX_SKIPPED_POLLS));
        self.failures = self.failures.saturating_add(1);
        self.pause = Some((cause, polls));
    }

    /// Records a success: the next failure starts with the shortest pause.
    pub(super) fn record_success(&mut self) {
        *self = Self::default();
    }

    /// Skips this poll if a pause is active, and returns the cause of the pause. Returns none if an attempt is due now.
    pub(super) fn skip_poll(&mut self) -> Option<T> {
        let (cause, polls) = self.pause.as_mut()?;
        *polls = polls.checked_sub(1)?;
        Some(*cause)
    }

    /// Whether an attempt is due at this poll. Call this at every poll while `cause` lasts. Each attempt counts as a failure
    /// until [`Self::record_success`] is called. So attempts are due at the polls 0, 2, 6, 14, 30, and then at every 16th poll.
    pub(super) fn is_due(&mut self, cause: T) -> bool {
        if self.pause.is_none() {
            self.record_failure(cause);
        }
        if self.skip_poll().is_some() {
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
        (0..).find(|_| backoff.skip_poll().is_none()).unwrap()
    }

    #[test]
    fn pauses_start_at_zero_and_grow_up_to_the_limit() {
        let mut backoff = Backoff::default();
        assert_eq!(skipped_polls(&mut backoff), 0);
        let skipped: Vec<u32> = (0..40)
            .map(|_| {
                backoff.record_failure(CAUSE);
                skipped_polls(&mut backoff)
            })
            .collect();
        assert_eq!(skipped[..6], [0, 1, 3, 7, 15, 15]);
        assert_eq!(skipped[39], 15);
    }

    #[test]
    fn success_resets_the_pauses() {
        let mut backoff = Backoff::default();
        backoff.record_failure(CAUSE);
        backoff.record_failure(CAUSE);
        assert_eq!(backoff.skip_poll(), Some(CAUSE));
        backoff.record_success();
        assert_eq!(backoff.skip_poll(), None);
        backoff.record_failure(CAUSE);
        assert_eq!(skipped_polls(&mut backoff), 0);
    }

    #[test]
    fn a_lasting_cause_makes_attempts_due_at_growing_intervals() {
        let mut backoff = Backoff::default();
        let mut due = vec![];
        for poll in 0..30 {
            if backoff.is_due(CAUSE) {
                due.push(poll);
                assert_eq!(backoff.skip_poll(), None, "the attempt itself is not delayed");
            }
        }
        assert_eq!(due, [0, 2, 6, 14]);
    }
}
