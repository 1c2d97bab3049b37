//! The ledger that two tasks use: the leader writes it, and a scrape reads it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::{Ledger, UnixTime};
use crate::{cluster::Leadership, runtime::catalogue::Source};

/// The ledger of this replica while it leads, behind a lock. Clones refer to the same ledger.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedLedger(Arc<Mutex<Option<LeadersLedger>>>);

#[derive(Debug)]
struct LeadersLedger {
    ledger: Ledger,
    leadership: Leadership,
}

// === impl SharedLedger ===

impl SharedLedger {
    /// From now on the metrics show this ledger, as long as the replica leads.
    pub(super) fn show(&self, ledger: Ledger, leadership: Leadership) {
        *self.lock() = Some(LeadersLedger { ledger, leadership });
    }

    /// From now on the metrics show no ledger.
    pub(super) fn hide(&self) {
        *self.lock() = None;
    }

    /// Changes the ledger; `None` if there is none.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Ledger) -> R) -> Option<R> {
        self.lock().as_mut().map(|shown| change(&mut shown.ledger))
    }

    fn lock(&self) -> MutexGuard<'_, Option<LeadersLedger>> {
        // Every method of the ledger leaves a valid state before it can panic, so a poisoned ledger is still valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for SharedLedger {
    type Values = Ledger;

    /// While the replica does not lead, the ledger is empty and has no series.
    fn with<R>(&self, read: impl FnOnce(&Ledger) -> R) -> R {
        match self.lock().as_ref().filter(|shown| shown.leadership.is_current()) {
            Some(shown) => read(&shown.ledger),
            None => read(&Ledger::new(Ledger::empty(UnixTime(0)))),
        }
    }
}
