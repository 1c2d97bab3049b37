//! Pods that are created all the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use kit::cluster::Cluster;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use vdi_metrics::contract::key;

use super::installation::Installation;
use crate::support::own_control_plane::{OPTED_IN, dry_run, minimal_pod};

/// Time between two pods of a client.
const INTERVAL: Duration = Duration::from_millis(100);

const CLIENTS: usize = 3;

/// Clients that create pods in dry runs: the API server calls the webhook and stores nothing.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<u32>>>,
}

// === impl Load ===

impl Load {
    pub(super) fn start(installation: &Installation) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let client = |_| tokio::spawn(create(Arc::clone(&installation.cluster), Arc::clone(&stop)));
        Self { clients: (0..CLIENTS).map(client).collect(), stop }
    }

    /// Stops the clients. Returns the number of pods.
    ///
    /// # Errors
    /// Fails if a pod was rejected or has no sidecar.
    pub(super) async fn stop(self) -> Result<u32> {
        self.stop.store(true, Relaxed);
        let mut created = 0;
        for client in self.clients {
            created += client.await??;
        }
        Ok(created)
    }
}

async fn create(cluster: Arc<Cluster>, stop: Arc<AtomicBool>) -> Result<u32> {
    let (mut ticks, mut created) = (interval(INTERVAL), 0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Relaxed) {
        ticks.tick().await;
        let (pod, _) = dry_run(&cluster, OPTED_IN, &minimal_pod("desktop")).await?;
        ensure!(pod["metadata"]["annotations"][key::STATUS] == "injected", "pod {created}: {pod:#}");
        created += 1;
    }
    Ok(created)
}
