//! A bounded table of names that become label values.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::sessions::ledger::time::UnixTime;

/// Label value for sessions without a name.
pub(in crate::sessions::ledger) const NO_NAME: &str = "none";

/// Label value for all names that have no slot.
pub(in crate::sessions::ledger) const OTHER_NAME: &str = "other";

/// Names that users may not take: a session with such a name counts as [`OTHER_NAME`].
const RESERVED: [&str; 2] = [NO_NAME, OTHER_NAME];

/// Maximum number of names with a slot, without [`NO_NAME`] and [`OTHER_NAME`]. The creator of a pod chooses its names, so without
/// a bound the exposition could become too large.
pub(in crate::sessions::ledger) const MAX_NAMES: usize = 200;

/// A name without sessions can lose its slot when its last session ended this number of seconds ago: a week.
const AGE: i64 = 7 * 86_400;

/// Values by name. A name takes its slot at the first end of a session. Before, it has a slot only while slots are free, so that
/// its counters show 0 before their first event. So pods that never start cannot keep slots from names whose sessions end.
///
/// A name that loses its slot loses its value: in `other` the counts would increase a second time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::sessions::ledger) struct Slots<T> {
    names: BTreeMap<String, Slot<T>>,
    /// Number of names so far; gives the order of the slots.
    taken: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Slot<T> {
    value: T,
    order: u64,
    /// Time at which a session of the name has last ended; none before the first end.
    last_end: Option<UnixTime>,
}

// === impl Slots ===

impl<T: Default> Slots<T> {
    /// Every label value with its value.
    pub(in crate::sessions::ledger) fn all(&self) -> impl Iterator<Item = (&str, &T)> {
        self.names.iter().map(|(name, slot)| (name.as_str(), &slot.value))
    }

    /// The label value of a name.
    pub(in crate::sessions::ledger) fn label<'s>(&'s self, name: Option<&'s str>) -> &'s str {
        match label(name) {
            label if self.names.contains_key(label) => label,
            _ => OTHER_NAME,
        }
    }

    /// The value of a name that was seen. Creates it if a slot is free.
    pub(in crate::sessions::ledger) fn seen(&mut self, name: Option<&str>) -> &mut T {
        let label = if self.needs_slot(name) { OTHER_NAME } else { label(name) };
        &mut self.slot(label).value
    }

    /// The value of a name with a session that ended. The name takes a slot, if necessary that of a name without an end.
    pub(in crate::sessions::ledger) fn ended(&mut self, name: Option<&str>, now: UnixTime) -> &mut T {
        let label = if self.needs_slot(name) && !self.free_provisional() { OTHER_NAME } else { label(name) };
        let slot = self.slot(label);
        slot.last_end = slot.last_end.max(Some(now));
        &mut slot.value
    }

    /// Whether the name has no slot and none is free.
    fn needs_slot(&self, name: Option<&str>) -> bool {
        let label = label(name);
        let reserved = RESERVED.iter().filter(|name| self.names.contains_key(**name)).count();
        let is_full = self.names.len() - reserved >= MAX_NAMES;
        is_full && !self.names.contains_key(label) && !RESERVED.contains(&label)
    }

    /// Whether the end of a session of this name gets no slot, unless a name is removed that has had no session for a week.
    pub(in crate::sessions::ledger) fn wants_aged(&self, name: Option<&str>, now: UnixTime) -> bool {
        self.needs_slot(name) && self.names.values().all(|slot| slot.last_end.is_some()) && {
            self.aged(now).next().is_some()
        }
    }

    /// Removes the name whose sessions ended first, of those that are not in use. Returns it.
    pub(in crate::sessions::ledger) fn free_aged(
        &mut self,
        in_use: &BTreeSet<&str>,
        now: UnixTime,
    ) -> Option<String> {
        let aged = self.aged(now).filter(|(_, name)| !in_use.contains(name));
        let (_, name) = aged.min()?;
        let name = name.to_owned();
        self.names.remove(&name);
        Some(name)
    }

    fn aged(&self, now: UnixTime) -> impl Iterator<Item = (UnixTime, &str)> {
        let names = self.names.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
        let ends = names.filter_map(|(name, slot)| Some((slot.last_end?, name.as_str())));
        ends.filter(move |(end, _)| now.0 - end.0 > AGE)
    }

    fn slot(&mut self, label: &str) -> &mut Slot<T> {
        self.taken += 1;
        let slot = || Slot { value: T::default(), order: self.taken, last_end: None };
        self.names.entry(label.to_owned()).or_insert_with(slot)
    }

    /// Takes the slot of the name that was seen last and has no end.
    fn free_provisional(&mut self) -> bool {
        let names = self.names.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
        let provisional = names.filter(|(_, slot)| slot.last_end.is_none());
        let last = provisional.max_by_key(|(_, slot)| slot.order).map(|(name, _)| name.clone());
        last.is_some_and(|name| self.names.remove(&name).is_some())
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { names: BTreeMap::new(), taken: 0 }
    }
}

/// The label value that a name would have without a bound.
pub(in crate::sessions::ledger) fn label(name: Option<&str>) -> &str {
    match name.filter(|name| !name.is_empty()) {
        None => NO_NAME,
        Some(name) if RESERVED.contains(&name) => OTHER_NAME,
        Some(name) => name,
    }
}
