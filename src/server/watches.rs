//! The watches of the cluster: sessions, the limits of namespaces, pods without a sidecar, and pods that do not start.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use arc_swap::ArcSwap;
use kube::Client;
use tokio::{sync::oneshot, time::timeout};

use super::supervisor::Supervisor;
use crate::{
    admission::Namespaces,
    breaker::Breaker,
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

/// What follows the cluster, before it starts.
#[derive(Debug)]
pub(super) struct Watches {
    pub(super) sessions: Sessions,
    pub(super) stop: StopRequest,
    pub(super) coverage: Coverage,
    pub(super) breaker: Breaker,
    pub(super) registration: Registration,
    pub(super) limits: LimitsWatch,
}

/// The watch of the LimitRanges and ResourceQuotas of namespaces, before it starts.
#[derive(Debug)]
pub(super) struct LimitsWatch {
    namespaces: Arc<ArcSwap<Namespaces>>,
    complete: oneshot::Sender<()>,
}

// === impl LimitsWatch ===

impl LimitsWatch {
    /// Releases `latch` once `namespaces` is complete, or after a timeout.
    pub(super) fn new(namespaces: Arc<ArcSwap<Namespaces>>, latch: Latch) -> Self {
        let (complete, received) = oneshot::channel();
        tokio::spawn(release_when_complete(received, latch));
        Self { namespaces, complete }
    }

    async fn follow(self, client: Client) {
        let Self { namespaces, complete } = self;
        limits::follow(client, &namespaces, || release(complete)).await;
    }
}

/// Releases the latch of the limits, unless the timeout has released it already.
fn release(complete: oneshot::Sender<()>) {
    _ = complete.send(());
}

// === impl Watches ===

impl Watches {
    /// Starts the watches as supervised tasks.
    pub(super) fn start(self, clients: Clients, tasks: &mut Supervisor) {
        let Self { sessions, stop, coverage, breaker, registration, limits } = self;
        let Clients { retrying, once } = clients;
        spawn(tasks, "registration", registration.follow(once.clone()));
        spawn(tasks, "coverage watch", coverage.follow(retrying.clone()));
        spawn(tasks, "breaker watch", breaker.follow(retrying.clone()));
        spawn(tasks, "session ledger", sessions.count(once, stop));
        spawn(tasks, "limits watch", limits.follow(retrying));
    }

    /// Releases the latch without watches, because there is no cluster.
    pub(super) fn skip(self, tasks: &mut Supervisor) {
        release(self.limits.complete);
        let registration = self.registration;
        tasks.spawn("registration", async move {
            ensure!(
                !registration.needs_cluster(),
                "the server stores its certificate in the Secret vdi-metrics-tls, but it cannot sign in to a cluster; give --tls-cert and --tls-key"
            );
            registration.follow_files().await;
            Ok(())
        });
    }
}

fn spawn(tasks: &mut Supervisor, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(name, async {
        task.await;
        Ok(())
    });
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
