//! The latest events of the watch, for a replica that does not lead. When it becomes the leader, it applies the events that the saved
//! state does not contain.

use std::{collections::VecDeque, mem};

use crate::sessions::ledger::{Ledger, SessionPod, UnixTime};

/// Events are kept for this number of seconds. The leader saves at least every minute.
const MAX_AGE: u64 = 300;

/// Maximum bytes of the events. Events of 5 minutes with 50,000 sessions of 8 hours have about 8 MB.
const MAX_BYTES: usize = 16 << 20;

/// Every event after a resource version.
#[derive(Debug, Default)]
pub(in crate::sessions) struct History {
    /// None while it is not known from which version on every event is here.
    since: Option<u64>,
    events: VecDeque<PodEvent>,
    bytes: usize,
}

/// An event of the watch.
#[derive(Debug)]
pub(in crate::sessions) struct PodEvent {
    pub(in crate::sessions) pod: SessionPod,
    pub(in crate::sessions) is_gone: bool,
    /// Time at which the event was received.
    pub(in crate::sessions) received: UnixTime,
}

// === impl History ===

impl History {
    /// Forgets everything. Every event after this version follows.
    pub(in crate::sessions) fn begin(&mut self, version: u64) {
        *self = Self { since: Some(version), ..Self::default() };
    }

    /// Forgets everything. It is not known which event is the next one.
    pub(in crate::sessions) fn clear(&mut self) {
        *self = Self::default();
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
    }

    /// Whether every event after this version is here.
    pub(in crate::sessions) fn covers(&self, version: u64) -> bool {
        self.since.is_some_and(|since| since <= version)
    }

    /// Applies the events to a ledger, which ignores those that it contains. Returns the number of the other events.
    pub(in crate::sessions) fn replay(self, ledger: &mut Ledger) -> u64 {
        self.events.iter().map(|event| u64::from(event.apply(ledger))).sum()
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

    /// The size in memory, without small strings.
    fn bytes(&self) -> usize {
        let messages = self.pod.sidecar_runs.iter().filter_map(|run| run.message.as_ref());
        let lists = mem::size_of_val(&*self.pod.containers) + mem::size_of_val(&*self.pod.devices);
        mem::size_of::<Self>() + lists + messages.map(String::len).sum::<usize>()
    }
}
