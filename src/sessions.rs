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

use ledger::{Ledger, UnixTime};

/// The ledger, shared between the watch and the scrape.
#[derive(Debug, Clone)]
pub struct Sessions(Arc<Mutex<Ledger>>);

/// Registers the families and counts from now on, for as long as the returned future is polled.
///
/// # Errors
/// Where one of the names is registered already.
pub fn count(
    client: kube::Client,
    registry: &Registry,
) -> prometheus::Result<impl Future<Output = ()> + use<>> {
    let sessions = Sessions(Arc::new(Mutex::new(Ledger::since(UnixTime::now()))));
    registry.register(Box::new(metrics::Families::new(sessions.clone())?))?;
    Ok(watch::follow(client, sessions))
}

// === impl Sessions ===

impl Sessions {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every method of the ledger leaves it whole before it can panic, so a poisoned one is still true.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
