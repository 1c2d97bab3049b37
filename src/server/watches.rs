//! The watches of the cluster: sessions, and the limits of namespaces.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use arc_swap::ArcSwap;
use tokio::{sync::oneshot, time::timeout};

use super::supervisor::Supervisor;
use crate::{
    admission::Namespaces,
    cluster::Clients,
    coverage::Coverage,
    limits,
    registration::Registration,
    runtime::readiness::Latch,
    sessions::{Sessions, StopRequest},
};

/// Timeout for the first list of LimitRanges and ResourceQuotas. After it the server is ready without the list. If the server
/// is ready too early, the API server can reject a desktop because of the sidecar's resources. If the server is never ready,
/// no pod gets a sidecar.
const FIRST_LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// The watches, before they start.
#[derive(Debug)]
pub(super) struct Watches {
    sessions: Sessions,
    stop: StopRequest,
    coverage: Option<Coverage>,
    registration: Option<Registration>,
    namespaces: Arc<ArcSwap<Namespaces>>,
    limits_complete: oneshot::Sender<()>,
}

// === impl Watches ===

impl Watches {
    /// Releases `latch` once the limits of namespaces are complete, or after a timeout.
    pub(super) fn new(
        sessions: Sessions,
        stop: StopRequest,
        namespaces: Arc<ArcSwap<Namespaces>>,
        latch: Latch,
    ) -> Self {
        let (limits_complete, received) = oneshot::channel();
        tokio::spawn(release_when_complete(received, latch));
        Self { sessions, stop, coverage: None, registration: None, namespaces, limits_complete }
    }

    /// Also watches the pods without a sidecar.
    pub(super) fn with_coverage(self, coverage: Coverage) -> Self {
        Self { coverage: Some(coverage), ..self }
    }

    /// Also keeps the certificate and the registration up to date.
    pub(super) fn with_registration(self, registration: Registration) -> Self {
        Self { registration: Some(registration), ..self }
    }

    /// Starts the watches as supervised tasks.
    pub(super) fn start(self, clients: Clients, tasks: &mut Supervisor) {
        let Self { sessions, stop, coverage, registration, namespaces, limits_complete } = self;
        let Clients { retrying, once } = clients;
        if let Some(registration) = registration {
            let client = once.clone();
            tasks.spawn("registration", async move {
                registration.follow(client).await;
                Ok(())
            });
        }
        if let Some(coverage) = coverage {
            let client = retrying.clone();
            tasks.spawn("coverage watch", async move {
                coverage.follow(client).await;
                Ok(())
            });
        }
        tasks.spawn("session ledger", async move {
            sessions.count(once, stop).await;
            Ok(())
        });
        // An error means that the timeout has released the latch already.
        let complete = move || _ = limits_complete.send(());
        tasks.spawn("limits watch", async move {
            limits::follow(retrying, &namespaces, complete).await;
            Ok(())
        });
    }

    /// Releases the latch without watches, because there is no cluster.
    pub(super) fn skip(self, tasks: &mut Supervisor) {
        // An error means that the timeout has released the latch already.
        _ = self.limits_complete.send(());
        let Some(registration) = self.registration else { return };
        tasks.spawn("registration", async move {
            ensure!(
                !registration.needs_cluster(),
                "the server keeps its certificate in a Secret and cannot sign in to a cluster; give --tls-cert and --tls-key"
            );
            registration.follow_files().await;
            Ok(())
        });
    }
}

/// Releases the latch after the signal or after a timeout. A sender that is dropped, for example by a panic, does not
/// release the latch.
async fn release_when_complete(complete: oneshot::Receiver<()>, latch: Latch) {
    match timeout(FIRST_LIST_TIMEOUT, complete).await {
        Ok(Ok(())) => latch.release(),
        Ok(Err(_dropped)) => {}
        Err(_elapsed) => {
            tracing::warn!(
                "Ready without LimitRanges and ResourceQuotas, because they could not be read in time; \
                 the API server can reject a pod because of the sidecar's resources"
            );
            latch.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::readiness::{ProbeResult, Readiness};

    async fn probe_after(signal: impl FnOnce(oneshot::Sender<()>)) -> ProbeResult {
        let readiness = Readiness::default();
        let (sender, receiver) = oneshot::channel();
        signal(sender);
        release_when_complete(receiver, readiness.latch("limits")).await;
        readiness.probe()
    }

    #[tokio::test]
    async fn the_signal_makes_the_process_ready() {
        assert_eq!(probe_after(|sender| sender.send(()).unwrap()).await, ProbeResult::Ready);
    }

    #[tokio::test]
    async fn a_dropped_sender_does_not_make_the_process_ready() {
        assert_eq!(probe_after(drop).await, ProbeResult::WaitingFor(vec!["limits"]));
    }
}
