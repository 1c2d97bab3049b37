//! A gap of the watch: events that no replica has received.

use std::collections::HashSet;

use super::time::UnixTime;

/// UIDs of the pods in a list that is being received.
pub(super) type Listing = HashSet<String>;

/// A gap, and what the events after it have shown.
#[derive(Debug)]
pub(super) struct Gap {
    /// Time of the last event before the gap.
    pub(super) began: UnixTime,
    /// UIDs of the pods with a state after the gap.
    shown: HashSet<String>,
}

// === impl Gap ===

impl Gap {
    /// A gap after an event of this time. If events between the `earlier` gap and this one have no list, both count as one: a pod that is
    /// missing in the next list can have disappeared in either.
    pub(super) fn after(earlier: Option<Self>, last_event: UnixTime) -> Self {
        let began = earlier.map_or(last_event, |earlier| earlier.began.min(last_event));
        Self { began, shown: HashSet::new() }
    }

    /// Whether no event since the gap has shown this pod.
    pub(super) fn is_first_state(&self, uid: &str) -> bool {
        !self.shown.contains(uid)
    }

    pub(super) fn shows(&mut self, uid: &str) {
        self.shown.insert(uid.to_owned());
    }
}
