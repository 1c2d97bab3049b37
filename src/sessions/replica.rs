//! The work of this replica on the ledger. It watches the session pods all the time. While another replica leads, it keeps the latest
//! events. When it leads, it loads the saved state, applies the events since then, and counts and saves until it stops leading.
//!
//! * `history` are the latest events, and `leader` counts and saves. `pace` decides when.
//! * `pod_changes` is the watch.
//! * `metrics` are about this work.

pub(super) mod history;
mod leader;
pub mod metrics;
mod pace;
mod pod_changes;

use std::{future::pending, pin::pin, time::Duration};

use futures_util::StreamExt;
use kube::Api;
use tokio::time::{Instant, sleep};

use super::{
    allocation::ShownAllocations,
    checkpoint::{CheckpointWriter, ConfigMaps},
    ledger::{Ledger, LedgerState},
    pod::{self, WatchedPod},
    settings::SettingsSource,
    shared::SharedLedger,
    stop::StopRequest,
    time::now,
};
use crate::{
    cluster::{Change, Leadership, Start},
    runtime::log::Chain,
};

use history::{History, PodEvent};
use leader::Leader;
use metrics::{EventSource, ReplicaMetrics};
use pace::SavePace;
use pod_changes::{PodChanges, watch_pods};

/// Time between two attempts to load the saved state.
const RETRY: Duration = Duration::from_secs(5);

/// A replica of the server.
pub(super) struct Replica {
    /// The session pods of the cluster.
    pub(super) pods: Api<WatchedPod>,
    pub(super) store: ConfigMaps,
    /// Names this run of the program.
    pub(super) identity: String,
    pub(super) leadership: Leadership,
    pub(super) ledger: SharedLedger,
    pub(super) metrics: ReplicaMetrics,
    pub(super) allocations: Option<ShownAllocations>,
    pub(super) settings: SettingsSource,
}

/// The watch of a replica that does not lead.
struct Standby {
    pods: Api<WatchedPod>,
    changes: PodChanges,
    history: History,
}

// === impl Replica ===

impl Replica {
    /// Waits for the leadership and leads, in turns. Returns after a request to stop, with everything saved.
    pub(super) async fn run(self, mut stop: StopRequest) {
        for period in 0_u64.. {
            let mut standby = Standby::new(self.pods.clone());
            if !standby.wait(self.leadership.clone(), &mut stop).await {
                return;
            }
            let Some((writer, state)) = self.take_over(&mut standby, period, &mut stop).await else {
                continue;
            };
            let mut ledger = Ledger::new(state);
            ledger.configure(self.settings.active());
            let (changes, source) = standby.continue_from(&mut ledger);
            self.ledger.show(ledger, self.leadership.clone());
            self.metrics.took_over(source);
            tracing::info!(source = source.as_str(), "Counting sessions");
            let leader = Leader {
                pods: &self.pods,
                leadership: self.leadership.clone(),
                ledger: &self.ledger,
                metrics: &self.metrics,
                settings: &self.settings,
                writer,
                changes,
                pace: SavePace::new(Instant::now()),
            };
            tokio::select! {
                () = leader.run(&mut stop) => {}
                () = self.follow_allocations() => {}
            }
            self.ledger.hide();
            self.metrics.stopped_leading();
        }
    }

    /// Does not return.
    async fn follow_allocations(&self) {
        if let Some(allocations) = &self.allocations {
            allocations.follow(self.pods.clone().into_client()).await;
        }
        pending::<()>().await;
    }

    /// Loads the saved state, while `standby` keeps events. `None` if the replica stops leading, or after a request to stop.
    async fn take_over(
        &self,
        standby: &mut Standby,
        period: u64,
        stop: &mut StopRequest,
    ) -> Option<(CheckpointWriter<ConfigMaps>, LedgerState)> {
        let mut leadership = self.leadership.clone();
        let mut loaded = pin!(self.load(period));
        loop {
            tokio::select! {
                loaded = &mut loaded => return Some(loaded),
                () = standby.receive() => {}
                () = leadership.becomes(false) => return None,
                () = stop.requested() => return None,
            }
        }
    }

    /// Loads the saved state. Tries again until it succeeds.
    async fn load(&self, period: u64) -> (CheckpointWriter<ConfigMaps>, LedgerState) {
        loop {
            let writer = format!("{}/{period}", self.identity);
            match CheckpointWriter::take_over(self.store.clone(), writer, Ledger::empty(now())).await {
                Ok(taken) => return taken,
                Err(error) => {
                    let error = Chain(&error).to_string();
                    tracing::error!(
                        error,
                        "Cannot load the saved counts of sessions; no session is counted; trying again"
                    );
                }
            }
            sleep(RETRY).await;
        }
    }
}

// === impl Standby ===

impl Standby {
    fn new(pods: Api<WatchedPod>) -> Self {
        Self { changes: watch_pods(pods.clone(), Start::Now), pods, history: History::default() }
    }

    /// Keeps events until the replica leads. `false` after a request to stop.
    async fn wait(&mut self, mut leadership: Leadership, stop: &mut StopRequest) -> bool {
        loop {
            tokio::select! {
                () = leadership.becomes(true) => return true,
                () = stop.requested() => return false,
                () = self.receive() => {}
            }
        }
    }

    /// Keeps the next event.
    async fn receive(&mut self) {
        match self.changes.next().await {
            Some(Change::Begin(version)) => self.history.begin(version),
            Some(Change::Applied(pod)) => self.keep(&pod, false),
            Some(Change::Deleted(pod)) => self.keep(&pod, true),
            Some(Change::Expired | Change::Restored) | None => {
                self.history.clear();
                self.changes = watch_pods(self.pods.clone(), Start::Now);
            }
            // A list does not come after `Start::Now`.
            Some(
                Change::Progress(_)
                | Change::Retried
                | Change::Unreadable { .. }
                | Change::ListBegin
                | Change::Listed(_)
                | Change::ListEnd(_),
            ) => {}
        }
    }

    fn keep(&mut self, pod: &WatchedPod, is_gone: bool) {
        if let Some(pod) = pod::read(pod) {
            self.history.push(PodEvent { pod, is_gone, received: now() });
        }
    }

    /// Brings the ledger from its saved state to the present. Returns the changes that follow.
    fn continue_from(self, ledger: &mut Ledger) -> (PodChanges, EventSource) {
        let version = ledger.resource_version();
        if version == 0 {
            return (watch_pods(self.pods, Start::List), EventSource::List);
        }
        ledger.resume();
        if self.history.covers(version) {
            self.history.replay(ledger);
            return (self.changes, EventSource::Memory);
        }
        (watch_pods(self.pods, Start::After(version)), EventSource::ApiServer)
    }
}
