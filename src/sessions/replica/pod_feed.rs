//! The watch of the session pods, with its latest events.

use std::{mem, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use kube::Api;
use tokio::time::{Instant, sleep_until};

use super::{
    history::{History, PodEvent},
    metrics::EventSource,
};
use crate::{
    cluster::{Change, Start, changes},
    contract::key,
    sessions::{
        ledger::Ledger,
        pod::{self, WatchedPod},
        time::now,
    },
};

/// A watch that ends earlier than this time after its start begins again after a delay.
const MIN_WATCH: Duration = Duration::from_secs(5);
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// The watch of a replica. It continues when the replica begins or stops to lead.
pub(super) struct PodFeed {
    pods: Api<WatchedPod>,
    changes: BoxStream<'static, Change<WatchedPod>>,
    /// The latest version of the API server that the watch has shown.
    latest: u64,
    began: Instant,
    /// The watch does not begin before this time.
    not_before: Instant,
    /// Whether events are missing after the history: the watch ended, and the next one has not begun or its list is not complete.
    is_interrupted: bool,
    history: History,
    /// The events before the current watch, if it began at an earlier version than they have.
    earlier: History,
}

/// What the watch shows.
pub(super) enum FeedChange {
    Event(Box<PodEvent>),
    ListBegin,
    ListEnd(u64),
    Progress(u64),
    Unreadable {
        uid: String,
        deleted: bool,
    },
    Retried,
    /// The API server cannot continue. The caller restarts the feed.
    Expired,
    /// The resource versions of the API server have become lower. The caller restarts the feed.
    Restored,
}

// === impl PodFeed ===

impl PodFeed {
    pub(super) fn new(pods: Api<WatchedPod>) -> Self {
        let changes = watch_pods(pods.clone(), Start::Now);
        let (history, earlier, now) = (History::default(), History::default(), Instant::now());
        Self {
            pods,
            changes,
            latest: 0,
            began: now,
            not_before: now,
            is_interrupted: false,
            history,
            earlier,
        }
    }

    /// The next change. A caller may drop the future without losing a change.
    pub(super) async fn next(&mut self) -> FeedChange {
        loop {
            sleep_until(self.not_before).await;
            match self.changes.next().await {
                Some(Change::Begin(version)) => {
                    self.latest = self.latest.max(version);
                    self.history.begin(version);
                    self.is_interrupted = false;
                }
                // A list is not in the order of versions, so it is no part of the history.
                Some(Change::Listed(pod)) => {
                    if let Some(event) = event(&pod, false) {
                        return FeedChange::Event(Box::new(event));
                    }
                }
                Some(Change::Applied(pod)) => {
                    if let Some(event) = self.keep(&pod, false) {
                        return FeedChange::Event(Box::new(event));
                    }
                }
                Some(Change::Deleted(pod)) => {
                    if let Some(event) = self.keep(&pod, true) {
                        return FeedChange::Event(Box::new(event));
                    }
                }
                Some(Change::ListBegin) => return FeedChange::ListBegin,
                Some(Change::ListEnd(version)) => {
                    self.latest = self.latest.max(version);
                    self.history.begin(version);
                    self.is_interrupted = false;
                    return FeedChange::ListEnd(version);
                }
                Some(Change::Progress(version)) => {
                    self.latest = self.latest.max(version);
                    return FeedChange::Progress(version);
                }
                Some(Change::Unreadable { uid, deleted }) => return FeedChange::Unreadable { uid, deleted },
                Some(Change::Retried) => return FeedChange::Retried,
                Some(Change::Expired) | None => return FeedChange::Expired,
                Some(Change::Restored) => {
                    (self.history, self.earlier) = (History::default(), History::default());
                    self.latest = 0;
                    return FeedChange::Restored;
                }
            }
        }
    }

    fn keep(&mut self, pod: &WatchedPod, is_gone: bool) -> Option<PodEvent> {
        let event = event(pod, is_gone)?;
        self.latest = self.latest.max(event.pod.version);
        self.history.push(event.clone());
        Some(event)
    }

    /// A watch that ended early begins again after a delay, so that a server without history does not get one list after the other.
    fn watch(&mut self, start: Start) {
        let now = Instant::now();
        self.not_before = if now < self.began + MIN_WATCH { now + RESTART_DELAY } else { now };
        self.began = now;
        self.changes = watch_pods(self.pods.clone(), start);
    }

    /// Watches again from the current version, without a list.
    pub(super) fn restart(&mut self) {
        self.is_interrupted = true;
        self.watch(Start::Now);
    }

    /// Lists the pods after a gap. The events that are known have the last states of pods that do not exist any more. The ledger must not be
    /// saved before the end of the list, because then the events of the gap would count as known.
    pub(super) fn list(&mut self, ledger: &mut Ledger) {
        mem::take(&mut self.earlier).replay(ledger);
        self.history.replay(ledger);
        ledger.begin_list();
        self.is_interrupted = true;
        self.watch(Start::List);
    }

    /// Brings a ledger from its saved state to the present, or begins to.
    pub(super) fn continue_from(&mut self, ledger: &mut Ledger) -> EventSource {
        let version = ledger.resource_version();
        if version == 0 {
            self.list(ledger);
            return EventSource::List;
        }
        ledger.resume();
        // A saved version that the watch has not reached can be one of another cluster; a new watch compares it with the current version.
        if self.is_interrupted || !self.history.covers(version) || version > self.latest {
            self.earlier = mem::take(&mut self.history);
            self.history.begin(version);
            self.is_interrupted = false;
            self.watch(Start::After(version));
            return EventSource::ApiServer;
        }
        if self.history.has_gap_after(version) {
            self.list(ledger);
            return EventSource::List;
        }
        self.history.replay(ledger);
        EventSource::Memory
    }
}

fn event(pod: &WatchedPod, is_gone: bool) -> Option<PodEvent> {
    Some(PodEvent { pod: pod::read(pod)?, is_gone, received: now() })
}

/// Watches the pods that admission marked.
fn watch_pods(pods: Api<WatchedPod>, start: Start) -> BoxStream<'static, Change<WatchedPod>> {
    changes(pods, &format!("{}=true", key::INJECTED), start).boxed()
}
