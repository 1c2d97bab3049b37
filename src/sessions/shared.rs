//! The ledger that two tasks use: the watch writes it, and a scrape reads it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::{Ledger, UnixTime};
use crate::runtime::catalogue::Source;

/// A ledger behind a lock. Clones refer to the same ledger.
#[derive(Debug, Clone)]
pub(super) struct SharedLedger(Arc<Mutex<Ledger>>);

// === impl SharedLedger ===

impl SharedLedger {
    pub(super) fn since(now: UnixTime) -> Self {
        Self(Arc::new(Mutex::new(Ledger::since(now))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        // Every method of the ledger leaves a valid state before it can panic, so a poisoned ledger is still valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for SharedLedger {
    type Values = Ledger;

    fn with<R>(&self, read: impl FnOnce(&Ledger) -> R) -> R {
        read(&self.lock())
    }
}
