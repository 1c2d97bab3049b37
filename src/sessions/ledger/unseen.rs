//! Pods that the watch does not show any more although no event has shown their removal. A read of the pod decides: it still exists
//! without the label that the watch selects, or it has ended.

use super::{
    Ledger, ending,
    session::{SessionPod, UnseenPod},
    time::UnixTime,
};

/// Seconds between two reads of a pod.
const READ_INTERVAL: i64 = 20;

/// What this replica knows about a pod that the watch does not show. It is not saved: each read would change the saved state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unseen {
    /// Time at which a read has last shown the pod.
    last_read: Option<UnixTime>,
    /// Time of the next read.
    next_read: UnixTime,
}

// === impl Unseen ===

impl Unseen {
    /// A pod that must be read at once.
    pub(super) const DUE: Self = Self { last_read: None, next_read: UnixTime(i64::MIN) };

    /// A pod that existed at this time.
    pub(super) fn after(now: UnixTime) -> Self {
        Self { last_read: None, next_read: UnixTime(now.0.saturating_add(READ_INTERVAL)) }
    }
}

// === impl Ledger ===

impl Ledger {
    /// At most this number of pods that must be read now; those that wait longest come first. Each is due again later, so that a read that
    /// fails is not repeated at once.
    #[must_use]
    pub fn unseen(&mut self, now: UnixTime, maximum: usize) -> Vec<UnseenPod> {
        let latest = now.0.saturating_add(READ_INTERVAL);
        // A time far in the future comes from a clock that has stepped back.
        let is_due = |unseen: &Unseen| unseen.next_read <= now || unseen.next_read.0 > latest;
        let mut due: Vec<_> = self
            .unseen
            .iter()
            .filter(|(_, unseen)| is_due(unseen))
            .map(|(uid, unseen)| (unseen.next_read, uid.clone()))
            .collect();
        due.sort();
        due.truncate(maximum);
        let mut pods = vec![];
        for (_, uid) in due {
            match (self.state.live.get(&uid), self.unseen.get_mut(&uid)) {
                (Some(live), Some(unseen)) => {
                    unseen.next_read = UnixTime(latest);
                    pods.push(UnseenPod { key: live.key.clone(), uid });
                }
                _ => _ = self.unseen.remove(&uid),
            }
        }
        pods
    }

    /// Records the state of an unseen pod; `None` if it does not exist. If the watch has shown it again, the read is ignored.
    pub fn read(&mut self, uid: &str, pod: Option<&SessionPod>, now: UnixTime) {
        let Some(live) = self.state.live.get(uid) else { return };
        let (Some(since), Some(unseen)) = (live.unseen_since, self.unseen.get_mut(uid)) else { return };
        let (before, last_seen) = (live.clone(), unseen.last_read.unwrap_or(since));
        let mut live = before.clone();
        match pod.filter(|pod| pod.uid == uid) {
            Some(pod) => {
                unseen.last_read = Some(now);
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
                let end = ending::in_gap(&live, last_seen);
                self.end(&mut live, &end, now);
                self.state.totals.in_gaps += 1;
            }
        }
        if live != before {
            self.state.live.insert(uid.to_owned(), live);
            self.has_changed = true;
        }
    }
}
