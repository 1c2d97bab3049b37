//! The ledger: the current state of every session pod, and totals of the sessions that have ended.
//!
//! Pure: pods and the current time are arguments. A session is counted once, however often the watch shows its end.

mod departed;
mod ending;
mod phase;
mod session;
mod totals;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use ending::{Ending, Failure};
pub use phase::Phase;
pub use session::{SessionPod, UnixTime};
pub use totals::{BUCKETS, Durations, SessionTotals};

use departed::Departed;
use totals::TemplateTotals;

/// Sessions by UID, and totals by template.
#[derive(Debug)]
pub struct Ledger {
    since: UnixTime,
    sessions: HashMap<String, Session>,
    departed: Departed,
    /// UIDs of the list that is being received.
    listing: Option<HashSet<String>>,
    /// Whether a list was received completely.
    is_complete: bool,
    totals: TemplateTotals,
}

#[derive(Debug)]
struct Session {
    pod: SessionPod,
    is_counted: bool,
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
            departed: Departed::default(),
            listing: None,
            is_complete: false,
            totals: TemplateTotals::default(),
        }
    }

    /// Records the state of a pod that the watch shows.
    pub fn seen(&mut self, pod: SessionPod, now: UnixTime) {
        if let Some(listing) = &mut self.listing {
            listing.insert(pod.uid.clone());
        }
        // Creates the totals of the template with 0.
        self.totals.of(pod.template.as_deref());
        let previous = self.sessions.get(&pod.uid);
        let was_shown = previous.is_some();
        let is_counted = previous.is_some_and(|session| session.is_counted) || self.departed.remove(&pod.uid);
        if pod.has_ended() && !is_counted && (was_shown || pod.end(now) >= self.since) {
            self.count(&pod, now);
        }
        let is_counted = is_counted || pod.has_ended();
        self.sessions.insert(pod.uid.clone(), Session { pod, is_counted });
    }

    /// Removes a pod that was deleted or has lost the label that the watch selects. `pod` is the last state with this label.
    /// A pod that neither ended nor was deleted has lost the label: its session continues and is not counted now.
    pub fn gone(&mut self, pod: &SessionPod, now: UnixTime) {
        let is_over = pod.has_ended() || pod.deleted.is_some();
        let is_counted = self.remove(&pod.uid);
        if is_over && !is_counted {
            self.count(pod, now);
        }
        // The pod may still exist and get the label again. Its session must not be counted a second time then.
        if (is_over || is_counted) && !pod.is_removed() {
            self.departed.insert(pod.uid.clone());
        }
    }

    /// Begins a list: the watch shows every pod again.
    pub fn begin_list(&mut self) {
        self.listing = Some(HashSet::new());
    }

    /// Ends a list. A pod that is not in the list disappeared while the watch was interrupted. The list does not show whether the
    /// pod was deleted or only lost its label; a deletion is assumed, and its session is counted now.
    pub fn end_list(&mut self, now: UnixTime) {
        let Some(listed) = self.listing.take() else { return };
        self.is_complete = true;
        let is_missing = |pod: &&SessionPod| !listed.contains(&pod.uid);
        let pods = self.sessions.values().map(|session| &session.pod);
        let missing: Vec<SessionPod> = pods.filter(is_missing).cloned().collect();
        for pod in missing {
            if !self.remove(&pod.uid) {
                self.count(&pod, now);
            }
            self.departed.insert(pod.uid);
        }
    }

    /// Number of sessions in a phase; `None` before the first list is complete.
    #[must_use]
    pub fn in_phase(&self, phase: Phase) -> Option<usize> {
        self.is_complete.then(|| self.sessions.values().filter(|session| session.pod.phase == phase).count())
    }

    /// The totals of every template that the watch has shown.
    #[must_use]
    pub fn totals(&self) -> &BTreeMap<String, SessionTotals> {
        self.totals.all()
    }

    /// Removes a session. Returns whether it was counted.
    fn remove(&mut self, uid: &str) -> bool {
        let session = self.sessions.remove(uid);
        self.departed.remove(uid) || session.is_some_and(|session| session.is_counted)
    }

    fn count(&mut self, pod: &SessionPod, now: UnixTime) {
        let totals = self.totals.of(pod.template.as_deref());
        if let Some(started) = pod.started {
            totals.durations.observe(started, pod.end(now));
        }
        if let Ending::Failure(failure) = pod.ending {
            *totals.failures.entry(failure).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests;
