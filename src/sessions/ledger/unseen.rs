//! Pods that the watch does not show any more although no event has shown their removal. A read of the pod decides: it still exists
//! without the label that the watch selects, or it has ended.

use super::{
    Ledger, ending,
    live::LiveSession,
    session::{SessionPod, UnseenPod},
    time::UnixTime,
};

/// Seconds between two reads of a pod.
const READ_INTERVAL: u64 = 20;

// === impl Ledger ===

impl Ledger {
    /// At most this number of pods that must be read now.
    #[must_use]
    pub fn unseen(&self, now: UnixTime, maximum: usize) -> Vec<UnseenPod> {
        let live = self.unseen.iter().filter_map(|uid| Some((uid, self.state.live.get(uid)?)));
        let is_due = |live: &LiveSession| {
            live.unseen_since.is_some_and(|since| now.seconds_since(since) >= READ_INTERVAL)
        };
        let due = live.filter(|(_, live)| is_due(live));
        due.map(|(uid, live)| UnseenPod { uid: uid.clone(), key: live.key.clone() }).take(maximum).collect()
    }

    /// Records the state of an unseen pod; `None` if it does not exist. If the watch has shown it again, the read is ignored.
    pub fn read(&mut self, uid: &str, pod: Option<&SessionPod>, now: UnixTime) {
        let Some(since) = self.state.live.get(uid).and_then(|live| live.unseen_since) else { return };
        let Some(mut live) = self.state.live.remove(uid) else { return };
        self.has_changed = true;
        self.unseen.remove(uid);
        match pod.filter(|pod| pod.uid == uid) {
            Some(pod) => {
                // The watch can still show this version, if the pod has its label again.
                let version = live.version;
                self.observe(&mut live, pod);
                live.version = version;
                if pod.phase.is_terminal() {
                    self.count(&mut live, pod, now);
                }
                live.unseen_since = Some(now);
                self.unseen.insert(uid.to_owned());
                self.state.live.insert(uid.to_owned(), live);
            }
            None if live.is_counted => {}
            None => {
                let end = ending::in_gap(&live, since);
                self.end(&mut live, &end, now);
                self.state.totals.in_gaps += 1;
            }
        }
    }
}
