//! Coverage: the opted-in pods that have no sidecar. They are not sessions. A metric counts them, and the owner of each such
//! pod gets one warning Event. Nothing changes the pods.
//!
//! * `watch` follows the namespaces, the pods and the webhook configuration; `read` reads their metadata.
//! * `judge` decides whether a pod counts, and why it has no sidecar. **Pure.**
//! * `store` has the pods that count. **Pure.** `shared` is the store behind a lock.
//! * `announcements` chooses the next Event. **Pure.** `event` writes it.
//! * `metrics` is the catalogue.
//!
//! # Cost
//!
//! One watch receives the metadata of all pods of the cluster that have not ended, have no sidecar and are not opted out by
//! label. A watch for each opted-in namespace would receive less, but a platform can have a namespace for each user, and
//! thousands of watches cost the API server more than one. A pod that does not count is dropped as soon as it is received. So
//! if a namespace opts in later, the pods of this namespace are listed once. The server keeps less than 1 KiB for each pod
//! that counts.

mod announcements;
mod event;
mod judge;
pub mod metrics;
mod read;
mod reason;
mod shared;
mod store;
mod watch;

use kube::Client;
use prometheus::Registry;

use crate::{cluster::Leadership, runtime::catalogue::Catalogue};

pub use reason::NoSidecarReason;
use shared::SharedStore;

/// The opted-in pods of a cluster that have no sidecar.
#[derive(Debug)]
pub struct Coverage {
    store: SharedStore,
    leadership: Leadership,
}

// === impl Coverage ===

impl Coverage {
    /// Registers the metrics. They have series while this replica leads, so that a sum over the replicas counts each pod once.
    ///
    /// # Errors
    /// Fails if one of the names is registered already.
    pub fn register(registry: &Registry, leadership: Leadership) -> prometheus::Result<Self> {
        let store = SharedStore::default();
        let source = metrics::Counts::new(store.clone(), leadership.clone());
        registry.register(Box::new(Catalogue::new(metrics::ROWS, source)?))?;
        Ok(Self { store, leadership })
    }

    /// Follows the pods of the client's cluster, and writes Events while this replica leads. Returns only if a watch ends,
    /// which does not happen.
    pub async fn follow(self, client: Client) {
        let Self { store, leadership } = self;
        tokio::select! {
            () = watch::follow(client.clone(), &store) => {}
            never = event::announce(client, &store, &leadership) => match never {},
        }
    }
}

#[cfg(test)]
mod tests;
