//! The watch of the session pods, with its latest events.

use std::mem;

use futures_util::{StreamExt, stream::BoxStream};
use kube::Api;

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

/// The watch of a replica. It continues when the replica begins or stops to lead.
pub(super) struct PodFeed {
    pods: Api<WatchedPod>,
    changes: BoxStream<'static, Change<WatchedPod>>,
    history: History,
    /// The events before the current watch, if it began at an earlier version than they have.
    earlier: History,
}

/// What the watch shows.
pub(super) enum PodChange {
    Event(PodEvent),
    ListBegin,
    ListEnd(u64),
    Progress(u64),
    Unreadable(String),
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
        Self { pods, changes, history: History::default(), earlier: History::default() }
    }

    /// The next change. A caller may drop the future without losing a change.
    pub(super) async fn next(&mut self) -> PodChange {
        loop {
            match self.changes.next().await {
                Some(Change::Begin(version)) => self.history.begin(version),
                Some(Change::Listed(pod) | Change::Applied(pod)) => {
                    if let Some(event) = self.keep(&pod, false) {
                        return PodChange::Event(event);
                    }
                }
                Some(Change::Deleted(pod)) => {
                    if let Some(event) = self.keep(&pod, true) {
                        return PodChange::Event(event);
                    }
                }
                Some(Change::ListBegin) => return PodChange::ListBegin,
                Some(Change::ListEnd(version)) => {
                    self.history.begin(version);
                    return PodChange::ListEnd(version);
                }
                Some(Change::Progress(version)) => return PodChange::Progress(version),
                Some(Change::Unreadable { uid, .. }) => return PodChange::Unreadable(uid),
                Some(Change::Retried) => return PodChange::Retried,
                Some(Change::Expired) | None => return PodChange::Expired,
                Some(Change::Restored) => {
                    (self.history, self.earlier) = (History::default(), History::default());
                    return PodChange::Restored;
                }
            }
        }
    }

    fn keep(&mut self, pod: &WatchedPod, is_gone: bool) -> Option<PodEvent> {
        let event = PodEvent { pod: pod::read(pod)?, is_gone, received: now() };
        self.history.push(event.clone());
        Some(event)
    }

    /// Watches again from the current version, without a list.
    pub(super) fn restart(&mut self) {
        self.changes = watch_pods(self.pods.clone(), Start::Now);
    }

    /// Lists the pods after a gap. The events that are known have the last states of pods that do not exist any more. The ledger must not be
    /// saved before the end of the list, because then the events of the gap would count as known.
    pub(super) fn list(&mut self, ledger: &mut Ledger) {
        self.earlier.replay(ledger);
        self.history.replay(ledger);
        ledger.begin_list();
        self.earlier = History::default();
        self.changes = watch_pods(self.pods.clone(), Start::List);
    }

    /// Brings a ledger from its saved state to the present, or begins to.
    pub(super) fn continue_from(&mut self, ledger: &mut Ledger) -> EventSource {
        let version = ledger.resource_version();
        if version == 0 {
            self.list(ledger);
            return EventSource::List;
        }
        ledger.resume();
        if !self.history.covers(version) {
            self.earlier = mem::take(&mut self.history);
            self.history.begin(version);
            self.changes = watch_pods(self.pods.clone(), Start::After(version));
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

/// Watches the pods that admission marked.
fn watch_pods(pods: Api<WatchedPod>, start: Start) -> BoxStream<'static, Change<WatchedPod>> {
    changes(pods, &format!("{}=true", key::INJECTED), start).boxed()
}
