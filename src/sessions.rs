//! Sessions: pods in, counters out. The ledger is a pure state machine; around it stand the watch that feeds it and the
//! families that show it.
//!
//! Each replica watches and counts for itself. A checkpoint and a leader that alone exports have their place here.

pub mod ledger;
pub mod metrics;
mod pod;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::Registry;

use ledger::Ledger;

/// The ledger, shared between the watch and the scrape.
#[derive(Debug, Clone)]
pub struct Sessions(Arc<Mutex<Ledger>>);

// === impl Sessions ===

impl Sessions {
    /// Registers the families. They have no series until somebody counts.
    ///
    /// # Errors
    /// Where one of the names is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let sessions = Self(Arc::new(Mutex::new(Ledger::since(watch::now()))));
        registry.register(Box::new(metrics::Families::new(sessions.clone())?))?;
        Ok(sessions)
    }

    /// Counts the sessions of the client's cluster, for as long as it is polled.
    pub async fn count(self, client: kube::Client) {
        watch::follow(client, self).await;
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every method of the ledger leaves it whole before it can panic, so a poisoned one is still true.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
