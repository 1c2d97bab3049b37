//! Sessions: a watch of the session pods feeds a ledger, and the metrics show the ledger. The ledger is a pure state
//! machine: the same events in the order of their resource versions give the same totals.
//!
//! * `watch` receives the events; `shared` is the ledger behind a lock.
//! * `pod` decodes a pod and converts it into plain values: `identity` (template and pool), `conditions`, `containers`.
//! * `ledger` has the sessions and the totals.
//!   * `session`, `container`: the plain values of one pod at one moment.
//!   * `live`: facts about a pod that its last object no longer has. An entry can be serialized.
//!   * `ending`: the reason and the duration of a session that has ended; `end_reason` is the vocabulary.
//!   * `phase`, `pending`, `restarts`, `startup`: facts about sessions that have not ended.
//!   * `recent`: pods that the watch no longer shows.
//!   * `totals`: counts by template, and the bound on the names (`slots`, `pairs`).
//! * `metrics` is the catalogue.
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

#[cfg(test)]
mod tests;
