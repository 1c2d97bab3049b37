//! The latest events of the watch. When a replica becomes the leader, it applies the events that the saved state does not contain.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
};

use crate::sessions::ledger::{Ledger, SessionPod, UnixTime};

/// Events are kept for this number of seconds. The leader saves at least every minute.
const MAX_AGE: u64 = 300;

/// Maximum bytes of the events. Events of 5 minutes with 50,000 sessions of 8 hours have about 8 MB.
const MAX_BYTES: usize = 16 << 20;

/// The events after a resource version, with gaps.
#[derive(Debug, Default)]
pub(in crate::sessions) struct History {
    /// Every event after this version is here, but for those in gaps; none before the first event.
    since: Option<u64>,
    /// The versions at which the watch began again after a gap.
    continued: BTreeSet<u64>,
    events: VecDeque<PodEvent>,
    bytes: usize,
}

/// An event of the watch.
#[derive(Debug, Clone)]
pub(in crate::sessions) struct PodEvent {
    pub(in crate::sessions) pod: SessionPod,
    pub(in crate::sessions) is_gone: bool,
    /// Time at which the event was received.
    pub(in crate::sessions) received: UnixTime,
}

// === impl History ===

impl History {
    /// The watch begins after this version. Earlier events stay: they have the last states of pods that do not exist any more.
    pub(in crate::sessions) fn begin(&mut self, version: u64) {
        match self.since {
            None => self.since = Some(version),
            Some(_) => {
                // Two gaps without an event between them are one.
                let last_event = self.events.back().map_or(0, |event| event.pod.version);
                self.continued.retain(|continued| *continued < last_event);
                self.continued.insert(version);
            }
        }
    }

    pub(in crate::sessions) fn push(&mut self, event: PodEvent) {
        let now = event.received;
        self.bytes += event.bytes();
        self.events.push_back(event);
        let is_old = |event: &PodEvent| now.seconds_since(event.received) > MAX_AGE;
        while self.bytes > MAX_BYTES || self.events.front().is_some_and(is_old) {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.since = self.since.map(|since| since.max(oldest.pod.version));
        }
        let since = self.since;
        self.continued.retain(|continued| Some(*continued) > since);
    }

    /// Whether every event after this version is here, but for those in gaps.
    pub(in crate::sessions) fn covers(&self, version: u64) -> bool {
        self.since.is_some_and(|since| since <= version)
    }

    /// Whether events after this version are missing, because the watch was interrupted.
    pub(in crate::sessions) fn has_gap_after(&self, version: u64) -> bool {
        self.continued.last().is_some_and(|continued| version < *continued)
    }

    /// Applies the events and the gaps to a ledger, which ignores the events that it contains.
    pub(in crate::sessions) fn replay(&self, ledger: &mut Ledger) {
        let version = ledger.resource_version();
        let begins = self.since.into_iter().chain(self.continued.iter().copied());
        let mut gaps = begins.filter(|begin| *begin > version).peekable();
        for event in &self.events {
            while gaps.next_if(|begin| *begin < event.pod.version).is_some() {
                ledger.begin_gap();
            }
            event.apply(ledger);
        }
    }
}

// === impl PodEvent ===

impl PodEvent {
    /// Returns whether the ledger did not contain the event.
    pub(in crate::sessions) fn apply(&self, ledger: &mut Ledger) -> bool {
        if self.is_gone {
            ledger.gone(&self.pod, self.received)
        } else {
            ledger.seen(&self.pod, self.received)
        }
    }

    /// The size in memory.
    fn bytes(&self) -> usize {
        let SessionPod { uid, key, names, configuration, containers, devices, sidecar_runs, .. } = &self.pod;
        let texts = [Some(uid), Some(&key.namespace), Some(&key.name), Some(configuration)];
        let texts = texts.into_iter().chain([names.template.as_ref(), names.pool.as_ref()]).flatten();
        let texts = texts.chain(containers.iter().map(|container| &container.name));
        let texts = texts.chain(devices.iter().map(|device| &device.id));
        let texts = texts.chain(sidecar_runs.iter().filter_map(|run| run.message.as_ref()));
        let lists = mem::size_of_val(&**containers) + mem::size_of_val(&**devices);
        mem::size_of::<Self>() + lists + texts.map(String::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::tests::event;

    #[test]
    fn a_history_covers_the_versions_since_its_oldest_event() {
        let mut history = History::default();
        assert!(!history.covers(9));
        history.begin(9);
        assert!(history.covers(9) && !history.covers(8));
        for number in 0..400 {
            history.push(event(10 + number, i64::try_from(number).unwrap()));
        }
        // The events of the last 300 seconds.
        assert!(history.covers(10 + 98) && !history.covers(10 + 97));
        assert_eq!(history.events.len(), 301);
    }

    #[test]
    fn a_gap_matters_to_a_state_before_it() {
        let mut history = History::default();
        history.begin(10);
        history.push(event(12, 0));
        assert!(!history.has_gap_after(10));
        history.begin(20);
        history.push(event(25, 1));
        assert!(history.covers(10) && history.has_gap_after(10) && history.has_gap_after(19));
        assert!(history.covers(20) && !history.has_gap_after(20));
    }

    /// A ledger that has this version.
    fn ledger(version: u64) -> Ledger {
        let mut ledger = Ledger::new(Ledger::empty(UnixTime(0)));
        ledger.begin_list();
        ledger.end_list(version, UnixTime(0));
        ledger
    }

    #[test]
    fn a_replay_shows_each_gap_after_the_version_of_the_ledger() {
        let mut history = History::default();
        history.begin(10);
        history.push(event(12, 0));
        for version in [20, 22] {
            history.begin(version);
        }
        history.push(event(25, 1));
        assert_eq!(history.continued, BTreeSet::from([22]), "two gaps without an event between them");
        for (version, has_gap) in [(9, true), (10, true), (21, true), (22, false)] {
            let mut ledger = ledger(version);
            history.replay(&mut ledger);
            assert_eq!(ledger.has_gap(), has_gap, "{version}");
        }
    }

    #[test]
    fn the_bytes_of_a_history_are_bounded() {
        let mut history = History::default();
        history.begin(1);
        for number in 0..100_000 {
            history.push(event(2 + number, 0));
        }
        assert!(history.bytes <= MAX_BYTES);
        assert!(!history.covers(1) && history.covers(100_001));
    }
}
