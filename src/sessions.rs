//! Sessions: a watch of the session pods feeds a ledger, and the metrics show the ledger. The ledger is a pure state
//! machine: the same events in the order of their resource versions give the same totals.
//!
//! * `pod` decodes a pod and converts it into plain values: `identity` (template and pool), `conditions`, `containers`.
//! * `ledger` has the sessions and the totals.
//!   * `session`, `container`: the plain values of one pod at one moment.
//!   * `live`: facts about a pod that its last object no longer has. An entry can be serialized.
//!   * `ending`: the reason and the duration of a session that has ended; `end_reason` is the vocabulary.
//!   * `phase`, `pending`, `restarts`, `startup`: facts about sessions that have not ended.
//!   * `runs`: the totals of the sidecar's runs, from their termination messages (`usage`).
//!   * `unseen`, `reading`: pods that the watch does not show any more.
//!   * `totals`: counts by template, and the bound on the names (`slots`, `pairs`).
//! * `metrics` is the catalogue.
//!
//! * `replica` waits for the leadership, and then counts and saves. `shared` is the ledger behind a lock.
//! * `checkpoint` is the saved state.
//! * `allocation` shows the devices of each session.

pub mod allocation;
pub mod checkpoint;
pub mod ledger;
pub mod metrics;
pub(crate) mod pod;
pub mod replica;
mod settings;
mod shared;
mod stop;
mod time;
pub mod usage;

use std::fs;

use kube::{Api, Client};
use prometheus::Registry;

use crate::{
    cluster::{Leadership, LeadershipSender, LeaseCandidate},
    runtime::{catalogue::Catalogue, clock},
};

use allocation::ShownAllocations;
use checkpoint::ConfigMaps;
use replica::{Replica, metrics::ReplicaMetrics};
pub use settings::SettingsSource;
use shared::SharedLedger;
pub use stop::{StopRequest, StopSender, stop_request};

/// Name of the Lease of the leader.
const LEASE: &str = "vdi-metrics-ledger";

/// The sessions of a cluster.
#[derive(Debug)]
pub struct Sessions {
    ledger: SharedLedger,
    metrics: ReplicaMetrics,
    /// None if the devices of sessions are not shown.
    allocations: Option<ShownAllocations>,
    settings: SettingsSource,
    reports: LeadershipSender,
}

// === impl Sessions ===

impl Sessions {
    /// Registers the metrics. Those of the sessions have series only while this replica leads. `shows_allocations`: whether there is a series
    /// for each session and device.
    ///
    /// # Errors
    /// Fails if one of the names is registered already.
    pub fn register(
        registry: &Registry,
        shows_allocations: bool,
        settings: SettingsSource,
    ) -> prometheus::Result<Self> {
        let ledger = SharedLedger::default();
        registry.register(Box::new(Catalogue::new(metrics::ROWS, ledger.clone())?))?;
        let allocations =
            shows_allocations.then(|| ShownAllocations::register(registry, ledger.clone())).transpose()?;
        let reports = LeadershipSender::default();
        let metrics = ReplicaMetrics::register(registry, reports.leadership())?;
        Ok(Self { ledger, metrics, allocations, settings, reports })
    }

    /// Whether this replica has the Lease; false before [`Self::count`] and after it.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.reports.leadership()
    }

    /// Counts the sessions of the client's cluster while this replica leads. The Lease and the saved state are in the client's namespace.
    /// Returns after a request to stop. The client should send each request once.
    pub async fn count(self, client: Client, stop: StopRequest) {
        let (namespace, identity) = (client.default_namespace().to_owned(), identity());
        let leadership = self.leadership();
        let mut candidate =
            LeaseCandidate::new(client.clone(), &namespace, LEASE, identity.clone(), self.reports);
        let replica = Replica {
            pods: Api::all_with(client.clone(), &pod::resource()),
            store: ConfigMaps::new(client, &namespace),
            identity,
            leadership,
            ledger: self.ledger,
            metrics: self.metrics,
            allocations: self.allocations,
            settings: self.settings,
        };
        // The program waits until every clone of the request was dropped.
        let _until_released = stop.clone();
        tokio::select! {
            never = candidate.run() => match never {},
            () = replica.run(stop) => {}
        }
        candidate.release().await;
    }
}

/// The name of the pod or of the machine, and the time of the start.
fn identity() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{:x}", host.trim(), clock::unix_now().as_nanos())
}

#[cfg(test)]
mod tests;
