//! Reads of the pods that the watch does not show any more. A read decides: the pod still exists without the label that the watch selects,
//! or its session has ended.

use super::{
    Ledger,
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

    /// Records the state of an unseen pod; `None` if it does not exist. If the watch has shown it again, the read is ignored.
    pub fn read(&mut self, uid: &str, pod: Option<&SessionPod>, now: UnixTime) {
        let Some(before) = self.state.live.get(uid).cloned() else { return };
        let Some(since) = before.unseen_since else { return };
        let mut live = before.clone();
        match pod.filter(|pod| pod.uid == uid) {
            Some(pod) => {
                self.unseen.was_read(uid, now);
                self.observe(&mut live, pod);
                // The watch can still show this version, if the pod has its label again.
                live.version = before.version;
                if pod.phase.is_terminal() {
                    self.count(&mut live, pod, now);
                }
            }
            None if live.is_counted => {
                self.state.live.remove(uid);
                self.unseen.remove(uid);
                self.has_changed = true;
                return;
            }
            // The session stays until the next read: the watch can be late with events of the pod, which must not count again.
            None => {
                let last_seen = self.unseen.last_read(uid).unwrap_or(since);
                self.end_in_gap(&mut live, last_seen, now);
            }
        }
        if live != before {
            self.state.live.insert(uid.to_owned(), live);
            self.has_changed = true;
        }
    }
}
