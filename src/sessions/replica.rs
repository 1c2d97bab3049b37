//! The work of this replica on the ledger. It watches the session pods all the time. While another replica leads, it keeps the latest
//! events. When it leads, it loads the saved state, applies the events since then, and counts and saves until it stops leading.
//!
//! * `history` are the latest events, and `leader` counts and saves. `pace` decides when.
//! * `pod_feed` is the watch.
//! * `metrics` are about this work.

pub(super) mod history;
mod leader;
pub mod metrics;
mod pace;
mod pod_feed;

use std::{future::pending, pin::pin, time::Duration};

use kube::Api;
use tokio::time::{Instant, sleep};

use super::{
    allocation::ShownAllocations,
    checkpoint::{CheckpointWriter, ConfigMaps, LoadError, SaveError},
    ledger::{Ledger, LedgerState},
    pod::WatchedPod,
    settings::SettingsSource,
    shared::SharedLedger,
    stop::StopRequest,
    time::now,
};
use crate::{cluster::Leadership, runtime::log::Chain};

use leader::Leader;
use metrics::ReplicaMetrics;
use pace::SavePace;
use pod_feed::{FeedChange, PodFeed};

/// Time between two attempts to load the saved state; after a conflict with a late write of the leader before, the time is shorter.
const RETRY: Duration = Duration::from_secs(5);
const CONFLICT_RETRY: Duration = Duration::from_millis(200);

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

// === impl Replica ===

impl Replica {
    /// Waits for the leadership and leads, in turns. Returns after a request to stop, with everything saved.
    pub(super) async fn run(self, mut stop: StopRequest) {
        let mut feed = PodFeed::new(self.pods.clone());
        for period in 0_u64.. {
            if !self.wait(&mut feed, &mut stop).await {
                return;
            }
            let Some((writer, state)) = self.take_over(&mut feed, period, &mut stop).await else { continue };
            let mut ledger = Ledger::new(state);
            ledger.configure(self.settings.active());
            let source = feed.continue_from(&mut ledger);
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
                feed: &mut feed,
                pace: SavePace::new(Instant::now()),
            };
            tokio::select! {
                () = leader.run(&mut stop) => {}
                () = self.follow_allocations() => {}
            }
            self.ledger.hide();
            self.metrics.stopped_counting();
        }
    }

    /// Waits until the replica leads. `false` after a request to stop.
    async fn wait(&self, feed: &mut PodFeed, stop: &mut StopRequest) -> bool {
        let mut leadership = self.leadership.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return false,
                () = leadership.becomes(true) => return true,
                change = feed.next() => skip(feed, &change),
            }
        }
    }

    /// Does not return.
    async fn follow_allocations(&self) {
        if let Some(allocations) = &self.allocations {
            allocations.follow(self.pods.clone().into_client()).await;
        }
        pending::<()>().await;
    }

    /// Loads the saved state, while `feed` keeps events. `None` if the replica stops leading, or after a request to stop.
    async fn take_over(
        &self,
        feed: &mut PodFeed,
        period: u64,
        stop: &mut StopRequest,
    ) -> Option<(CheckpointWriter<ConfigMaps>, LedgerState)> {
        let mut leadership = self.leadership.clone();
        let mut loaded = pin!(self.load(period));
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return None,
                () = leadership.becomes(false) => return None,
                loaded = &mut loaded => return Some(loaded),
                change = feed.next() => skip(feed, &change),
            }
        }
    }

    /// Loads the saved state. Tries again until it succeeds.
    async fn load(&self, period: u64) -> (CheckpointWriter<ConfigMaps>, LedgerState) {
        loop {
            let writer = format!("{}/{period}", self.identity);
            match CheckpointWriter::take_over(self.store.clone(), writer, Ledger::empty(now())).await {
                Ok(taken) => return taken,
                Err(LoadError::Save(SaveError::Lost)) => sleep(CONFLICT_RETRY).await,
                Err(error) => {
                    let error = Chain(&error).to_string();
                    tracing::error!(
                        error,
                        "Cannot load the saved counts of sessions; no session is counted; trying again"
                    );
                    sleep(RETRY).await;
                }
            }
        }
    }
}

/// The feed keeps the events of a replica that does not lead.
fn skip(feed: &mut PodFeed, change: &FeedChange) {
    if matches!(change, FeedChange::Expired | FeedChange::Restored) {
        feed.restart();
    }
}
