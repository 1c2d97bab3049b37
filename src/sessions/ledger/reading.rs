//! Reads of the pods that the watch does not show any more. A read decides: the pod still exists without the label that the watch selects,
//! or its session has ended.

use super::{
    Ledger,
    live::LiveSession,
    session::{SessionPod, UnseenPod},
    time::UnixTime,
};

// === impl Ledger ===

impl Ledger {
    /// At most this number of pods that must be read now.
    pub fn unseen(&mut self, now: UnixTime, maximum: usize) -> Vec<UnseenPod> {
        let due = self.unseen.take_due(now, maximum).into_iter();
        due.filter_map(|uid| Some(UnseenPod { key: self.state.live.get(&uid)?.key.clone(), uid })).collect()
    }

    /// Records the state of an unseen pod; `None` if it does not exist. `version` is the resource version of the API server at the read. If
    /// the watch has shown the pod again, the read is ignored. The watch can be late with the events of a pod that does not exist any more,
    /// so the session ends when the ledger has every event up to the first read without the pod.
    pub fn read(&mut self, uid: &str, pod: Option<&SessionPod>, version: u64, now: UnixTime) {
        let Some(before) = self.state.live.get(uid).cloned() else { return };
        let Some(since) = before.unseen_since else { return };
        let mut live = before.clone();
        let Some(pod) = pod.filter(|pod| pod.uid == uid) else {
            if self.unseen.is_gone(uid, version, self.state.resource_version) {
                let last_seen = self.unseen.last_read(uid).unwrap_or(since);
                self.end_unseen(uid, live, last_seen, now);
            }
            return;
        };
        self.unseen.was_read(uid, now);
        self.observe(&mut live, pod);
        // The watch can still show this version, if the pod has its label again.
        live.version = before.version;
        if pod.phase.is_terminal() {
            self.count(&mut live, pod, now);
        }
        if live != before {
            self.state.live.insert(uid.to_owned(), live);
            self.has_changed = true;
        }
    }

    fn end_unseen(&mut self, uid: &str, mut live: LiveSession, last_seen: UnixTime, now: UnixTime) {
        if !live.is_counted {
            self.end_in_gap(&mut live, last_seen, now);
        }
        self.state.live.remove(uid);
        self.unseen.remove(uid);
        self.has_changed = true;
    }
}
