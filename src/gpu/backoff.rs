//! When to open the library again. Pure; counted in polls, because attempts are made at polls only.

use super::{Fault, LibraryState};

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

    /// A device is lost while the library stays open for the others: `MustReopen` at the polls at which opening it anew is due.
    pub(super) fn lost(&mut self, fault: Fault) -> LibraryState {
        if self.waiting.is_none() {
            self.failed(fault);
        }
        if self.pause().is_some() {
            return LibraryState::Usable;
        }
        self.waiting = None;
        LibraryState::MustReopen
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

    #[test]
    fn a_lost_device_has_the_library_opened_anew_ever_more_rarely() {
        let mut backoff = Backoff::default();
        let mut opened = vec![];
        for poll in 0..30 {
            if backoff.lost(FAULT) == LibraryState::MustReopen {
                opened.push(poll);
                assert_eq!(backoff.pause(), None, "opening it is not put off as well");
            }
        }
        assert_eq!(opened, [0, 2, 6, 14]);
    }
}
