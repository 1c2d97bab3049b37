//! The ledger: the current state of every session pod, and totals of the sessions that have ended.
//!
//! Pure: pods and the current time are arguments. A session is counted once, however often the watch shows its end. The ledger
//! applies events in the order of their resource versions: an event that is older than the last one changes nothing. So the
//! events after the resource version of a saved state, applied to that state, give the same totals again.
//!
//! The metrics show the totals of the last save, so no crash can make a counter fall.

mod container;
mod end_reason;
mod ending;
mod gap;
mod live;
mod pending;
mod phase;
mod reading;
mod restarts;
mod runs;
mod session;
mod startup;
mod time;
mod totals;
mod unseen;

use std::collections::BTreeMap;

pub use container::{ContainerRole, ContainerRun, Exit, ExitCause, RunState, WaitCause};
pub use end_reason::EndReason;
pub use live::LiveSession;
pub use pending::PendingReason;
pub use phase::Phase;
pub use restarts::RestartReason;
pub use session::{
    ActiveSettings, AllocatedDevice, Deletion, DeviceSource, Disruption, DisruptionCause, GpuVisibility,
    GroupNames, PodKey, PodReason, Progress, Scheduling, SessionPod, SidecarRun, UnseenPod,
};
pub use startup::Stage;
pub use time::UnixTime;
pub use totals::{
    BUCKETS, MEMORY_BUCKETS, Observations, STARTUP_BUCKETS, SessionTotals, Totals, UsageTotals,
};

use super::checkpoint::{Checkpoint, LiveSessions, Unsaved};
use ending::SessionEnd;
use gap::{Gap, Listing};
use totals::CountsByPair;
use unseen::UnseenPods;

/// The state of a ledger, as it is saved.
pub type LedgerState = Checkpoint<Totals, LiveSession>;

/// Number of sessions by phase.
pub type PhaseCounts = BTreeMap<Phase, u64>;

/// Sessions by UID, and totals.
#[derive(Debug)]
pub struct Ledger {
    state: LedgerState,
    /// The totals of the last save.
    saved: Totals,
    /// Resource version of the last save.
    saved_version: u64,
    /// Whether an event has changed the state since the last save.
    has_changed: bool,
    /// The latest gap of the watch, until a list ends it.
    gap: Option<Gap>,
    listing: Option<Listing>,
    /// The sessions whose pods the watch does not show.
    unseen: UnseenPods,
    /// Whether the sessions are those that exist now: a list was received completely, or the watch has continued.
    is_complete: bool,
    settings: ActiveSettings,
}

// === impl Ledger ===

impl Ledger {
    /// The state of an empty ledger. A session that ended before `since`, and that the watch did not show before its end, is not
    /// counted.
    #[must_use]
    pub fn empty(since: UnixTime) -> LedgerState {
        LedgerState { resource_version: 0, totals: Totals::since(since), live: LiveSessions::default() }
    }

    /// Continues from a saved state.
    #[must_use]
    pub fn new(state: LedgerState) -> Self {
        let mut unseen = UnseenPods::default();
        let hidden = state.live.iter().filter(|(_, live)| live.unseen_since.is_some());
        hidden.for_each(|(uid, _)| unseen.add_due(uid.to_owned()));
        Self {
            unseen,
            saved: state.totals.clone(),
            saved_version: state.resource_version,
            state,
            has_changed: false,
            gap: None,
            listing: None,
            is_complete: false,
            settings: ActiveSettings::default(),
        }
    }

    /// Uses the active configuration.
    pub fn configure(&mut self, settings: ActiveSettings) {
        if settings != self.settings {
            self.state.totals.keep(&settings.templates, &settings.pools);
            (self.settings, self.has_changed) = (settings, true);
        }
    }

    /// Every event up to this resource version is in the state.
    #[must_use]
    pub fn resource_version(&self) -> u64 {
        self.state.resource_version
    }

    /// Records the state of a pod that the watch shows. Returns whether it is new.
    pub fn seen(&mut self, pod: &SessionPod, now: UnixTime) -> bool {
        if let Some(listing) = &mut self.listing {
            listing.insert(pod.uid.clone());
        }
        let Some(mut live) = self.take(pod, now) else { return false };
        live.unseen_since = None;
        self.unseen.remove(&pod.uid);
        self.observe(&mut live, pod);
        if pod.phase.is_terminal() {
            self.count(&mut live, pod, now);
        }
        self.shows_state(pod);
        self.state.live.insert(pod.uid.clone(), live);
        true
    }

    /// Records that the watch no longer shows a pod. `pod` is its last state with the label that the watch selects. The session
    /// of a pod that only lost the label continues. Returns whether the event is new.
    pub fn gone(&mut self, pod: &SessionPod, now: UnixTime) -> bool {
        let Some(mut live) = self.take(pod, now) else { return false };
        self.observe(&mut live, pod);
        if pod.is_removal() || pod.phase.is_terminal() {
            self.count(&mut live, pod, now);
        }
        self.shows_state(pod);
        if pod.is_removal() && !pod.has_finalizers {
            self.unseen.remove(&pod.uid);
        } else {
            live.unseen_since = Some(now);
            self.unseen.add(pod.uid.clone(), now);
            self.state.live.insert(pod.uid.clone(), live);
        }
        true
    }

    /// Records that an event of a pod cannot be decoded. If it is the removal of the pod, a read decides.
    pub fn unreadable(&mut self, uid: String, is_gone: bool, now: UnixTime) {
        if is_gone {
            if let Some(mut live) = self.state.live.remove(&uid) {
                live.unseen_since.get_or_insert(now);
                self.state.live.insert(uid.clone(), live);
                self.unseen.add(uid, now);
                self.has_changed = true;
            }
        } else if let Some(listing) = &mut self.listing {
            listing.insert(uid);
        }
    }

    /// Records that the watch has sent every event up to this resource version.
    pub fn progress(&mut self, resource_version: u64, now: UnixTime) {
        self.state.totals.last_event = self.state.totals.last_event.max(now);
        if self.listing.is_none() {
            self.state.resource_version = self.state.resource_version.max(resource_version);
        }
    }

    /// Records that the watch continues after the resource version of the state.
    pub fn resume(&mut self) {
        (self.gap, self.listing, self.is_complete) = (None, None, true);
    }

    /// Records that events are missing before the next one. A list must follow.
    pub fn begin_gap(&mut self) {
        self.gap = Some(Gap::after(self.gap.take(), self.state.totals.last_event));
    }

    /// Whether events are missing that only a list can replace.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Begins a list: the watch shows every pod again.
    pub fn begin_list(&mut self) {
        self.begin_gap();
        self.listing = Some(Listing::new());
    }

    /// Ends a list with this resource version. A pod that is not in the list was removed while the watch was interrupted, or it lost
    /// its label. It was seen last before the interruption.
    pub fn end_list(&mut self, resource_version: u64, now: UnixTime) {
        let (Some(listed), Some(gap)) = (self.listing.take(), self.gap.take()) else { return };
        self.state.live.update(|uid, live| {
            let is_missing = live.unseen_since.is_none() && !listed.contains(uid);
            if is_missing {
                // The clock can have stepped back.
                live.unseen_since = Some(gap.began.min(now));
                self.unseen.add_due(uid.to_owned());
            }
            is_missing
        });
        (self.is_complete, self.has_changed) = (true, true);
        self.state.totals.last_event = self.state.totals.last_event.max(now);
        self.state.resource_version = resource_version;
    }

    /// Records that the resource versions of the API server have become lower, for example because etcd was restored from a backup. A list
    /// must follow.
    pub fn restart_versions(&mut self) {
        self.state.resource_version = 0;
        self.unseen.restart_versions();
        self.state.live.update(|_, live| {
            live.version = 0;
            true
        });
    }

    /// Whether a save has a reason. A new resource version alone is one: without a save the old one becomes too old to continue from. While
    /// a list is received, the state is not complete and must not be saved.
    #[must_use]
    pub fn needs_save(&self) -> bool {
        let has_progressed = self.state.resource_version != self.saved_version;
        !self.has_gap() && (self.has_changed || has_progressed)
    }

    /// What has changed since the last save. The caller reports the result with [`Self::saved`] or [`Self::not_saved`].
    ///
    /// # Errors
    /// Fails if a session cannot be written as JSON.
    pub fn take_unsaved(&mut self) -> serde_json::Result<Unsaved<Totals>> {
        let unsaved = self.state.take_unsaved()?;
        self.has_changed = false;
        Ok(unsaved)
    }

    /// Records that a save is durable. From now on the metrics show its totals.
    pub fn saved(&mut self, unsaved: Unsaved<Totals>) {
        (self.saved, self.saved_version) = (unsaved.totals, unsaved.resource_version);
    }

    /// Records that a save has failed.
    pub fn not_saved(&mut self, unsaved: &Unsaved<Totals>) {
        self.state.not_saved(unsaved);
        self.has_changed = true;
    }

    /// Number of sessions by phase; `None` before the sessions are complete.
    #[must_use]
    pub fn phases(&self) -> Option<PhaseCounts> {
        let mut counts: PhaseCounts = Phase::ALL.into_iter().map(|phase| (phase, 0)).collect();
        for live in self.shown() {
            *counts.entry(live.phase).or_default() += 1;
        }
        self.is_complete.then_some(counts)
    }

    /// Number of sessions by template, pool and phase; empty before the sessions are complete.
    #[must_use]
    pub fn phases_by_pair(&self) -> BTreeMap<(&str, &str), PhaseCounts> {
        let pairs = self.state.totals.pairs().map(|(pair, _)| pair).filter(|_| self.is_complete);
        let mut counts = CountsByPair::<PhaseCounts>::new(pairs);
        for live in self.shown() {
            *counts.of(self.state.totals.pair(&live.names)).entry(live.phase).or_default() += 1;
        }
        counts.into_counts()
    }

    /// Number of pending sessions by template and reason; empty before the sessions are complete.
    #[must_use]
    pub fn pending(&self) -> BTreeMap<(&str, PendingReason), u64> {
        let mut counts = BTreeMap::new();
        for live in self.shown() {
            if let Some(reason) = live.pending {
                *counts.entry((self.state.totals.template(&live.names), reason)).or_default() += 1;
            }
        }
        counts
    }

    /// Sessions whose sidecar was injected by another configuration than the active one, by template.
    #[must_use]
    pub fn with_old_configuration(&self) -> BTreeMap<&str, u64> {
        let mut counts: BTreeMap<_, _> =
            self.totals().filter(|_| self.is_complete).map(|(template, _)| (template, 0)).collect();
        let is_old =
            |live: &&LiveSession| !live.phase.is_terminal() && live.configuration != self.settings.hash;
        for live in self.shown().filter(is_old) {
            *counts.entry(self.state.totals.template(&live.names)).or_default() += 1;
        }
        counts
    }

    /// The devices of each session whose pod exists and has not ended.
    pub fn devices(&self) -> impl Iterator<Item = (&PodKey, &AllocatedDevice)> {
        let holds = |live: &&LiveSession| !live.phase.is_terminal();
        self.shown().filter(holds).flat_map(|live| live.devices.iter().map(|device| (&live.key, device)))
    }

    /// The totals of every template with a series, by label value, at the last save.
    pub fn totals(&self) -> impl Iterator<Item = (&str, &SessionTotals)> {
        self.saved.templates()
    }

    /// The totals of every pair of template and pool with a series, by label values, at the last save.
    pub fn usage(&self) -> impl Iterator<Item = ((&str, &str), &UsageTotals)> {
        self.saved.pairs()
    }

    /// Sessions that have ended without an event, at the last save.
    #[must_use]
    pub fn in_gaps(&self) -> u64 {
        self.saved.in_gaps
    }

    /// The sessions whose pods the watch shows; none before the sessions are complete.
    fn shown(&self) -> impl Iterator<Item = &LiveSession> {
        let sessions = self.state.live.iter().map(|(_, live)| live);
        sessions.filter(|live| self.is_complete && live.unseen_since.is_none())
    }

    /// Removes the session of a pod from the ledger and returns it. `None` if the event is older than the ledger's state.
    fn take(&mut self, pod: &SessionPod, now: UnixTime) -> Option<LiveSession> {
        self.state.totals.last_event = self.state.totals.last_event.max(now);
        let state = &mut self.state;
        let mut last = state.live.get(&pod.uid).map_or(0, |live| live.version);
        if self.listing.is_none() {
            last = last.max(state.resource_version);
            state.resource_version = last.max(pod.version);
        }
        if pod.version <= last && pod.version != 0 {
            return None;
        }
        self.has_changed = true;
        Some(state.live.remove(&pod.uid).unwrap_or_else(|| new_session(pod, state.totals.since)))
    }

    /// Remembers that a state of a pod was shown since the latest gap.
    fn shows_state(&mut self, pod: &SessionPod) {
        if let Some(gap) = self.gap.as_mut().filter(|_| !pod.is_removal()) {
            gap.shows(&pod.uid);
        }
    }

    fn observe(&mut self, live: &mut LiveSession, pod: &SessionPod) {
        let progressed = live.observe(pod);
        self.state.totals.seen(&live.names, &progressed);
    }

    fn count(&mut self, live: &mut LiveSession, pod: &SessionPod, now: UnixTime) {
        if live.is_counted {
            return;
        }
        let is_first = self.gap.as_ref().is_some_and(|gap| gap.is_first_state(&pod.uid));
        let end = ending::of(pod, live, now);
        if is_first && end.depends_on_earlier_states(pod, live) {
            self.end_in_gap(live, pod.finished().unwrap_or(now), now);
        } else {
            self.end(live, &end, now);
        }
    }

    /// Ends a session whose end the ledger has missed. `last_seen` is the time at which the pod existed last.
    fn end_in_gap(&mut self, live: &mut LiveSession, last_seen: UnixTime, now: UnixTime) {
        self.end(live, &ending::in_gap(live, last_seen), now);
        self.state.totals.in_gaps += 1;
    }

    fn end(&mut self, live: &mut LiveSession, end: &SessionEnd, now: UnixTime) {
        live.is_counted = true;
        let LedgerState { totals, live: sessions, .. } = &mut self.state;
        if totals.wants_aged(&live.names, now) {
            totals.age_out(&live.names, sessions.iter().map(|(_, live)| &live.names), now);
        }
        totals.ended(&live.names, end, now);
    }
}

/// A session that the ledger does not know. A session that ended before the ledger began is not counted, and also none from before
/// whose end has no time.
fn new_session(pod: &SessionPod, since: UnixTime) -> LiveSession {
    let is_older = pod.created < since;
    let mut live = LiveSession::new(pod, is_older);
    let has_ended = pod.phase.is_terminal() || pod.is_removal();
    let ended_since = pod.known_end().is_some_and(|end| end >= since);
    live.is_counted = has_ended && is_older && !ended_since;
    live
}
