//! The leader: applies the changes of session pods to the ledger and saves it.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use kube::{Api, api::ListParams};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{
    history::PodEvent,
    metrics::{EventResult, Interruption, ReplicaMetrics, SaveResult},
    pace::SavePace,
    pod_feed::{FeedChange, PodFeed},
};
use crate::{
    cluster::Leadership,
    runtime::log::Chain,
    sessions::{
        checkpoint::{CheckpointWriter, ConfigMaps, SaveError},
        ledger::{Ledger, UnseenPod},
        pod::{self, WatchedPod},
        settings::SettingsSource,
        shared::SharedLedger,
        stop::StopRequest,
        time::now,
    },
};

/// Time between two looks for a save that is due, and for pods that must be read.
const SAVE_TICK: Duration = Duration::from_millis(250);
const READ_TICK: Duration = Duration::from_secs(1);

/// Maximum number of pods that are read at each tick, and of requests at the same time.
const MAX_READS: usize = 64;
const CONCURRENT_READS: usize = 8;

/// Timeout of the reads of a tick. Events wait meanwhile.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// The leader, from its start to its end.
pub(super) struct Leader<'r> {
    pub(super) pods: &'r Api<WatchedPod>,
    pub(super) leadership: Leadership,
    pub(super) ledger: &'r SharedLedger,
    pub(super) metrics: &'r ReplicaMetrics,
    pub(super) settings: &'r SettingsSource,
    pub(super) writer: CheckpointWriter<ConfigMaps>,
    pub(super) feed: &'r mut PodFeed,
    pub(super) pace: SavePace,
}

// === impl Leader ===

impl Leader<'_> {
    /// Counts until the replica does not lead any more. After a request to stop it saves everything and returns.
    pub(super) async fn run(mut self, stop: &mut StopRequest) {
        let mut leadership = self.leadership.clone();
        let [mut save_ticks, mut read_ticks] = [SAVE_TICK, READ_TICK].map(interval);
        for ticks in [&mut save_ticks, &mut read_ticks] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => break,
                () = leadership.becomes(false) => return,
                _ = save_ticks.tick() => {
                    if self.pace.is_due(Instant::now()) && self.needs_save() && !self.save().await {
                        return;
                    }
                }
                _ = read_ticks.tick() => {
                    self.change(|ledger| ledger.configure(self.settings.active()));
                    self.read_unseen().await;
                }
                change = self.feed.next() => self.receive(change),
            }
        }
        if self.needs_save() {
            self.save().await;
        }
    }

    fn receive(&mut self, change: FeedChange) {
        match change {
            FeedChange::Event(event) => self.apply(&event),
            FeedChange::ListBegin => self.change(Ledger::begin_list),
            FeedChange::ListEnd(version) => {
                self.change(|ledger| ledger.end_list(version, now()));
                tracing::info!(version, "Listed the session pods");
            }
            FeedChange::Progress(version) => self.change(|ledger| ledger.progress(version, now())),
            FeedChange::Unreadable { uid, deleted } => {
                self.change(|ledger| ledger.unreadable(uid, deleted, now()));
                self.metrics.received(EventResult::Unreadable, 1);
            }
            FeedChange::Retried => self.metrics.interrupted(Interruption::Continued),
            FeedChange::Expired => self.list(Interruption::Expired),
            FeedChange::Restored => {
                self.change(Ledger::restart_versions);
                self.list(Interruption::Restored);
            }
        }
    }

    fn apply(&self, event: &PodEvent) {
        let is_new = self.ledger.change(|ledger| event.apply(ledger)) == Some(true);
        let result = if is_new { EventResult::Applied } else { EventResult::Repeated };
        self.metrics.received(result, 1);
    }

    fn change(&self, change: impl FnOnce(&mut Ledger)) {
        // The ledger is shown until this leader ends.
        let _ = self.ledger.change(change);
    }

    fn list(&mut self, interruption: Interruption) {
        tracing::warn!(
            reason = interruption.as_str(),
            "The API server cannot continue the watch of session pods; listing them"
        );
        self.metrics.interrupted(interruption);
        // `None`: the replica does not lead any more.
        let _ = self.ledger.change(|ledger| self.feed.list(ledger));
    }

    fn needs_save(&self) -> bool {
        self.ledger.change(|ledger| ledger.needs_save()) == Some(true)
    }

    /// Saves what has changed. `false` if another replica leads.
    async fn save(&mut self) -> bool {
        let unsaved = match self.ledger.change(Ledger::take_unsaved) {
            Some(Ok(unsaved)) => unsaved,
            Some(Err(error)) => {
                tracing::error!(%error, "Cannot write the counts of sessions as JSON");
                return true;
            }
            None => return true,
        };
        let bytes = unsaved.bytes();
        let saved = self.writer.save(&unsaved).await;
        self.pace.tried(bytes, Instant::now());
        let result = match &saved {
            Ok(()) => SaveResult::Saved,
            Err(SaveError::Lost) => SaveResult::Lost,
            Err(_) => SaveResult::Failed,
        };
        self.metrics.saved(result, bytes, u64::try_from(now().0).unwrap_or(0));
        match saved {
            Ok(()) => self.change(|ledger| ledger.saved(unsaved)),
            Err(error) => {
                self.change(|ledger| ledger.not_saved(&unsaved));
                let error = Chain(&error).to_string();
                tracing::warn!(error, "Cannot save the counts of sessions; the metrics show the last save");
            }
        }
        result != SaveResult::Lost
    }

    /// Reads the pods that the watch does not show any more.
    async fn read_unseen(&mut self) {
        let (pods, ledger) = (self.pods, self.ledger);
        let Some(unseen) = ledger.change(|ledger| ledger.unseen(now(), MAX_READS)) else { return };
        let reads = stream::iter(unseen).map(|unseen| read(pods, ledger, unseen));
        let reads = reads.buffer_unordered(CONCURRENT_READS).collect::<()>();
        if timeout(READ_TIMEOUT, reads).await.is_err() {
            tracing::warn!("The API server does not answer a read of a session pod in time; trying again");
        }
    }
}

async fn read(pods: &Api<WatchedPod>, ledger: &SharedLedger, unseen: UnseenPod) {
    let client = pods.clone().into_client();
    let pods = Api::<WatchedPod>::namespaced_with(client, &unseen.key.namespace, &pod::resource());
    // A list has a resource version although the pod does not exist.
    let by_name = ListParams::default().fields(&format!("metadata.name={}", unseen.key.name));
    let list = match pods.list(&by_name).await {
        Ok(list) => list,
        Err(error) => {
            tracing::warn!(%error, "Cannot read a session pod; trying again");
            return;
        }
    };
    let version = list.metadata.resource_version.and_then(|version| version.parse().ok());
    // Another pod can have the name now.
    let pod = list.items.first().filter(|pod| pod.metadata.uid.as_ref() == Some(&unseen.uid));
    // The watch shows a pod that has its label again, now or soon.
    if let Some(version) = version
        && !pod.is_some_and(pod::is_selected)
    {
        let pod = pod.and_then(pod::read);
        // `None`: the replica does not lead any more.
        let _ = ledger.change(|ledger| ledger.read(&unseen.uid, pod.as_ref(), version, now()));
    }
}
