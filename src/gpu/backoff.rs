//! When to open the library again. Pure; counted in polls, because attempts are made at polls only.

use super::Fault;

/// Waits after 1, 2, 3 ... failures in a row: no poll, 1, 3, 7, then [`LONGEST`] each time.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    waiting: Option<(Fault, u32)>,
}

/// Four minutes at 15 s: opening can cost 1.5 s of driver time where persistence mode is off.
const LONGEST: u32 = 15;

// === impl Backoff ===

impl Backoff {
    pub(super) fn failed(&mut self, fault: Fault) {
        let polls = 1u32.checked_shl(self.failures).map_or(LONGEST, |next| (next - 1).min(LONGEST));
        self.failures = self.failures.saturating_add(1);
        self.waiting = Some((fault, polls));
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The failure that is waited out at this poll; none means try now.
    pub(super) fn pause(&mut self) -> Option<Fault> {
        let (fault, polls) = self.waiting.as_mut()?;
        *polls = polls.checked_sub(1)?;
        Some(*fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Call, Code};

    const FAULT: Fault = Fault { call: Call::Init, code: Code::DriverNotLoaded };

    fn polls_waited(backoff: &mut Backoff) -> u32 {
        (0..).find(|_| backoff.pause().is_none()).unwrap()
    }

    #[test]
    fn the_first_attempt_is_at_once_and_later_ones_are_further_apart() {
        let mut backoff = Backoff::default();
        assert_eq!(polls_waited(&mut backoff), 0);
        let waits: Vec<u32> = (0..40)
            .map(|_| {
                backoff.failed(FAULT);
                polls_waited(&mut backoff)
            })
            .collect();
        assert_eq!(waits[..6], [0, 1, 3, 7, 15, 15]);
        assert_eq!(waits[39], 15);
    }

    #[test]
    fn success_starts_over() {
        let mut backoff = Backoff::default();
        backoff.failed(FAULT);
        backoff.failed(FAULT);
        assert_eq!(backoff.pause(), Some(FAULT));
        backoff.succeeded();
        assert_eq!(backoff.pause(), None);
        backoff.failed(FAULT);
        assert_eq!(polls_waited(&mut backoff), 0);
    }
}
