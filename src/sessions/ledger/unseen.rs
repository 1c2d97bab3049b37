//! Pods that the watch does not show any more although no event has shown their removal. This part is not saved: each read would change
//! the saved state.

use std::collections::BTreeMap;

use super::time::UnixTime;

/// Seconds between two reads of a pod.
const READ_INTERVAL: i64 = 20;

/// The pods by UID.
#[derive(Debug, Default)]
pub(super) struct UnseenPods(BTreeMap<String, Unseen>);

#[derive(Debug, Clone, Copy)]
struct Unseen {
    /// Time at which a read has last shown the pod.
    last_read: Option<UnixTime>,
    next_read: UnixTime,
    /// The resource version at the first read that has not shown the pod.
    missing: Option<u64>,
}

// === impl UnseenPods ===

impl UnseenPods {
    /// Adds a pod that must be read at once.
    pub(super) fn add_due(&mut self, uid: String) {
        self.0.insert(uid, Unseen { last_read: None, next_read: UnixTime(i64::MIN), missing: None });
    }

    /// Adds a pod that existed at this time.
    pub(super) fn add(&mut self, uid: String, now: UnixTime) {
        self.0.insert(uid, Unseen { last_read: None, next_read: later(now), missing: None });
    }

    pub(super) fn remove(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// At most this number of pods that must be read now; those that wait longest come first. Each is due again later, so that a read that
    /// fails is not repeated at once.
    pub(super) fn take_due(&mut self, now: UnixTime, maximum: usize) -> Vec<String> {
        // A later time comes from a clock that has stepped back.
        let is_due = |unseen: &Unseen| unseen.next_read <= now || unseen.next_read > later(now);
        let due = self.0.iter().filter(|(_, unseen)| is_due(unseen));
        let mut due: Vec<_> = due.map(|(uid, unseen)| (unseen.next_read, uid.clone())).collect();
        due.sort();
        let due: Vec<_> = due.into_iter().map(|(_, uid)| uid).take(maximum).collect();
        for uid in &due {
            self.0.entry(uid.clone()).and_modify(|unseen| unseen.next_read = later(now));
        }
        due
    }

    /// A read has shown the pod.
    pub(super) fn was_read(&mut self, uid: &str, now: UnixTime) {
        if let Some(unseen) = self.0.get_mut(uid) {
            (unseen.last_read, unseen.missing) = (Some(now), None);
        }
    }

    /// A read at this resource version has not shown the pod. Returns whether its events are known, because every event up to `known`
    /// is.
    pub(super) fn is_gone(&mut self, uid: &str, version: u64, known: u64) -> bool {
        self.0.get_mut(uid).is_some_and(|unseen| *unseen.missing.get_or_insert(version) <= known)
    }

    /// The resource versions of the API server have become lower.
    pub(super) fn restart_versions(&mut self) {
        self.0.values_mut().for_each(|unseen| unseen.missing = None);
    }

    /// Time at which a read has last shown the pod.
    pub(super) fn last_read(&self, uid: &str) -> Option<UnixTime> {
        self.0.get(uid)?.last_read
    }
}

fn later(now: UnixTime) -> UnixTime {
    UnixTime(now.0.saturating_add(READ_INTERVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_is_read_although_only_some_fit_into_a_round() {
        let mut unseen = UnseenPods::default();
        (0..1000).for_each(|number| unseen.add_due(number.to_string()));
        let mut read = std::collections::BTreeSet::new();
        for second in 0..100 {
            read.extend(unseen.take_due(UnixTime(second), 64));
        }
        assert_eq!(read.len(), 1000);
    }

    #[test]
    fn a_pod_is_due_after_its_interval_and_after_a_step_of_the_clock() {
        let mut unseen = UnseenPods::default();
        unseen.add("a".to_owned(), UnixTime(1000));
        assert_eq!(unseen.take_due(UnixTime(1019), 9), Vec::<String>::new());
        assert_eq!(unseen.take_due(UnixTime(1020), 9), ["a"]);
        assert_eq!(unseen.take_due(UnixTime(1021), 9), Vec::<String>::new());
        assert_eq!(unseen.take_due(UnixTime(10), 9), ["a"], "the clock was set back");
    }
}
