//! The circuit breaker: while sidecars keep pods from starting, it pauses injection, for a template or for all pods. It tries
//! again by itself.
//!
//! * `watch` follows the injected pods that have not started; `lookups` reads single pods again; `read` reads their fields.
//! * `observed` has the plain values of a pod, and `reason` the reasons of a container that does not start. **Pure.**
//! * `state` has the blocked pods and the circuits; `circuit` decides from starts and failures. **Pure.**
//! * `pauses` is the snapshot that admission reads. **Pure.** `shared` is the state behind a lock, and the snapshot.
//! * `event` writes Events. `metrics` is the catalogue.
//!
//! Every replica has its own watch and state, so no replica needs another one. The replicas can differ for some seconds. With
//! two replicas there can be two trial pods in a minute.

mod circuit;
mod event;
mod lookups;
pub mod metrics;
mod observed;
mod pauses;
mod read;
mod reason;
mod shared;
mod state;
mod watch;

use std::sync::Arc;

use kube::Client;
use prometheus::Registry;

use crate::{admission::InjectionGate, cluster::Leadership, runtime::catalogue::Catalogue};

pub use reason::BlockReason;
pub use shared::BreakerConfiguration;
use shared::SharedBreaker;

/// The breaker of this replica.
#[derive(Debug)]
pub struct Breaker {
    shared: SharedBreaker,
    leadership: Leadership,
}

// === impl Breaker ===

impl Breaker {
    /// Registers the metrics. Those about blocked pods have series while this replica leads. Calls `configuration` whenever the
    /// active configuration is needed.
    ///
    /// # Errors
    /// Fails if one of the names is registered already.
    pub fn register(
        registry: &Registry,
        leadership: Leadership,
        configuration: impl Fn() -> BreakerConfiguration + Send + Sync + 'static,
    ) -> prometheus::Result<Self> {
        let shared = SharedBreaker::new(configuration);
        let replica = metrics::ReplicaSource(shared.clone());
        registry.register(Box::new(Catalogue::new(metrics::ROWS, replica)?))?;
        let leader = metrics::LeaderSource { breaker: shared.clone(), leadership: leadership.clone() };
        registry.register(Box::new(Catalogue::new(metrics::LEADER_ROWS, leader)?))?;
        Ok(Self { shared, leadership })
    }

    /// The gate for admission.
    #[must_use]
    pub fn gate(&self) -> Arc<dyn InjectionGate> {
        Arc::new(self.shared.clone())
    }

    /// Follows the pods of the client's cluster, and writes Events while this replica leads. Returns only if the watch ends,
    /// which does not happen.
    pub async fn follow(self, client: Client) {
        let Self { shared, leadership } = self;
        tokio::select! {
            () = watch::follow(client.clone(), &shared) => {}
            never = event::announce(client, &shared, &leadership) => match never {},
        }
    }
}

#[cfg(test)]
mod tests;
