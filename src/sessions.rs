//! Sessions: a watch of the session pods feeds a ledger, and the metrics show the ledger. The ledger is a pure state
//! machine.
//!
//! Each replica of the server has its own watch and its own counts.

pub mod checkpoint;
pub mod ledger;
pub mod metrics;
mod pod;
mod shared;
pub mod usage;
mod watch;

use kube::Client;
use prometheus::Registry;

use crate::runtime::catalogue::Catalogue;

use shared::SharedLedger;

/// The sessions of a cluster.
#[derive(Debug, Clone)]
pub struct Sessions(SharedLedger);

// === impl Sessions ===

impl Sessions {
    /// Registers the metrics. They have no series before the watch has shown the first pods.
    ///
    /// # Errors
    /// Fails if one of the names is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let ledger = SharedLedger::since(watch::now());
        registry.register(Box::new(Catalogue::new(metrics::ROWS, ledger.clone())?))?;
        Ok(Self(ledger))
    }

    /// Counts the sessions of the client's cluster; returns only if the watch ends, which does not happen.
    pub async fn count(self, client: Client) {
        watch::follow(client, &self.0).await;
    }
}
