//! The ledger: the current state of every session pod, and totals of the sessions that have ended.
//!
//! Pure: pods and the current time are arguments. A session is counted once, however often the watch shows its end. The ledger
//! applies the events of one pod in the order of their resource versions: an event that is older than the last one changes
//! nothing.

mod container;
mod end_reason;
mod ending;
mod live;
mod pending;
mod phase;
mod recent;
mod restarts;
mod session;
mod startup;
mod time;
mod totals;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use container::{ContainerRole, ContainerRun, Exit, ExitCause, RunState, WaitCause};
pub use end_reason::EndReason;
pub use live::LiveSession;
pub use pending::PendingReason;
pub use phase::Phase;
pub use restarts::RestartReason;
pub use session::{
    AllocatedDevice, Deletion, Disruption, DisruptionCause, GroupNames, PodReason, Progress, Scheduling,
    SessionPod,
};
pub use startup::Stage;
pub use time::UnixTime;
pub use totals::{BUCKETS, STARTUP_BUCKETS, SecondsHistogram, SessionTotals};

use recent::Recent;
use totals::{CountsByPair, Totals};

/// Number of sessions by phase.
pub type PhaseCounts = BTreeMap<Phase, u64>;

/// Sessions by UID, and totals.
#[derive(Debug)]
pub struct Ledger {
    since: UnixTime,
    sessions: HashMap<String, LiveSession>,
    /// Sessions whose pods have lost the label that the watch selects. They can get it again.
    unlabelled: Recent<LiveSession>,
    /// The last resource versions of pods that the API server removed. A later event of such a pod is a repetition.
    removed: Recent<u64>,
    listing: Option<Listing>,
    /// Whether a list was received completely.
    is_complete: bool,
    /// Time of the latest event.
    last_event: UnixTime,
    totals: Totals,
}

/// A list that is being received.
#[derive(Debug)]
struct Listing {
    uids: HashSet<String>,
    /// Time of the last event before the list.
    interrupted: UnixTime,
}

// === impl Ledger ===

impl Ledger {
    /// An empty ledger. A session that ended before `since`, and that the watch did not show before its end, is not counted:
    /// an earlier server process has counted it.
    #[must_use]
    pub fn since(since: UnixTime) -> Self {
        Self {
            since,
            sessions: HashMap::new(),
            unlabelled: Recent::default(),
            removed: Recent::default(),
            listing: None,
            is_complete: false,
            last_event: since,
            totals: Totals::default(),
        }
    }

    /// Records the state of a pod that the watch shows.
    pub fn seen(&mut self, pod: &SessionPod, now: UnixTime) {
        if let Some(listing) = &mut self.listing {
            listing.uids.insert(pod.uid.clone());
        }
        let Some(mut live) = self.take(pod, now) else { return };
        self.observe(&mut live, pod);
        if pod.phase.is_terminal() {
            self.count(&mut live, pod, now);
        }
        self.sessions.insert(pod.uid.clone(), live);
    }

    /// Records that the watch no longer shows a pod. `pod` is its last state with the label that the watch selects. The session
    /// of a pod that only lost the label continues.
    pub fn gone(&mut self, pod: &SessionPod, now: UnixTime) {
        let Some(mut live) = self.take(pod, now) else { return };
        self.observe(&mut live, pod);
        if pod.is_removal() || pod.phase.is_terminal() {
            self.count(&mut live, pod, now);
        }
        if pod.is_removal() && !pod.has_finalizers {
            self.removed.insert(pod.uid.clone(), pod.version);
        } else {
            self.unlabelled.insert(pod.uid.clone(), live);
        }
    }

    /// Begins a list: the watch shows every pod again.
    pub fn begin_list(&mut self) {
        let interrupted = self.listing.take().map_or(self.last_event, |listing| listing.interrupted);
        self.listing = Some(Listing { uids: HashSet::new(), interrupted });
    }

    /// Ends a list. A pod that is not in the list disappeared while the watch was interrupted. The list does not show why; its
    /// session ends at the beginning of the interruption. The pod can still exist, without the label that the watch selects.
    pub fn end_list(&mut self, now: UnixTime) {
        let Some(Listing { uids, interrupted }) = self.listing.take() else { return };
        self.is_complete = true;
        self.last_event = self.last_event.max(now);
        for (uid, mut live) in self.sessions.extract_if(|uid, _| !uids.contains(uid)) {
            if !live.is_counted {
                live.is_counted = true;
                self.totals.ended(&live.names, ending::in_gap(&live, interrupted));
            }
            self.unlabelled.insert(uid, live);
        }
    }

    /// Number of sessions by phase; `None` before the first list is complete.
    #[must_use]
    pub fn phases(&self) -> Option<PhaseCounts> {
        let mut counts = no_sessions();
        for live in self.sessions.values() {
            *counts.entry(live.phase).or_default() += 1;
        }
        self.is_complete.then_some(counts)
    }

    /// Number of sessions by template, pool and phase; empty before the first list is complete.
    #[must_use]
    pub fn phases_by_pair(&self) -> BTreeMap<(&str, &str), PhaseCounts> {
        let mut counts = CountsByPair::<PhaseCounts>::new(self.totals.pairs());
        for live in self.sessions.values().filter(|_| self.is_complete) {
            *counts.of(self.totals.pair(&live.names)).entry(live.phase).or_default() += 1;
        }
        counts.into_counts()
    }

    /// Number of pending sessions by template and reason; empty before the first list is complete.
    #[must_use]
    pub fn pending(&self) -> BTreeMap<(&str, PendingReason), u64> {
        let mut counts = BTreeMap::new();
        for live in self.sessions.values().filter(|_| self.is_complete) {
            if let Some(reason) = live.pending {
                *counts.entry((self.totals.template(&live.names), reason)).or_default() += 1;
            }
        }
        counts
    }

    /// The totals of every template with a series, by label value.
    pub fn totals(&self) -> impl Iterator<Item = (&str, &SessionTotals)> {
        self.totals.templates()
    }

    /// Removes the session of a pod from the ledger and returns it. `None` if the event is older than the ledger's state.
    fn take(&mut self, pod: &SessionPod, now: UnixTime) -> Option<LiveSession> {
        self.last_event = self.last_event.max(now);
        let is_repeated = |version: u64| pod.version <= version && pod.version != 0;
        let known = self.sessions.get(&pod.uid).or_else(|| self.unlabelled.get(&pod.uid));
        let last = known.map(|live| live.version).or_else(|| self.removed.get(&pod.uid).copied());
        if last.is_some_and(is_repeated) {
            return None;
        }
        let known = self.sessions.remove(&pod.uid).or_else(|| self.unlabelled.remove(&pod.uid));
        Some(known.unwrap_or_else(|| self.new_session(pod)))
    }

    /// A session that the ledger does not know. An earlier server has counted a session that ended before this ledger began, and
    /// also one whose end has no time.
    fn new_session(&mut self, pod: &SessionPod) -> LiveSession {
        let is_older = pod.created < self.since;
        let was_removed = self.removed.remove(&pod.uid).is_some();
        let mut live = LiveSession::new(pod, is_older || was_removed);
        let has_ended = pod.phase.is_terminal() || pod.is_removal();
        let ended_since = pod.known_end().is_some_and(|end| end >= self.since);
        live.is_counted = was_removed || (has_ended && is_older && !ended_since);
        live
    }

    fn observe(&mut self, live: &mut LiveSession, pod: &SessionPod) {
        let progressed = live.observe(pod);
        self.totals.seen(&live.names, &progressed);
    }

    fn count(&mut self, live: &mut LiveSession, pod: &SessionPod, now: UnixTime) {
        if !live.is_counted {
            live.is_counted = true;
            self.totals.ended(&live.names, ending::of(pod, live, now));
        }
    }
}

/// 0 for each phase.
fn no_sessions() -> PhaseCounts {
    Phase::ALL.into_iter().map(|phase| (phase, 0)).collect()
}
