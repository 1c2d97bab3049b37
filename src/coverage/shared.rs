//! The store that several tasks use: the watch writes it; scrapes and Events read it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::store::CoverageStore;
use crate::admission::selection;

/// A store behind a lock. Clones refer to the same store.
#[derive(Debug, Clone)]
pub(super) struct SharedStore(Arc<Mutex<CoverageStore>>);

// === impl SharedStore ===

impl SharedStore {
    pub(super) fn lock(&self) -> MutexGuard<'_, CoverageStore> {
        // Every method of the store leaves a valid state before it can panic, so a poisoned store is still valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SharedStore {
    fn default() -> Self {
        // The entries are part of the program, and a unit test parses them.
        let webhooks = selection::shipped_webhooks().unwrap_or_default();
        Self(Arc::new(Mutex::new(CoverageStore::new(webhooks))))
    }
}
