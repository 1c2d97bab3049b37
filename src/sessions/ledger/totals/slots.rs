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
    /// Names that keep their slots.
    #[serde(skip)]
    kept: BTreeSet<String>,
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
    /// Gives a slot to each of these names, and keeps it. Other names lose theirs if necessary. Returns those that have lost it.
    pub(in crate::sessions::ledger) fn keep(&mut self, names: &[String]) -> Vec<String> {
        self.kept = names.iter().cloned().collect();
        let mut lost = vec![];
        for name in names {
            if self.needs_slot(Some(name)) {
                lost.extend(self.free_provisional().or_else(|| self.free_oldest(|_, _| true)));
            }
            self.slot(name);
        }
        lost
    }

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
        let fits = !self.needs_slot(name) || self.free_provisional().is_some();
        let slot = self.slot(if fits { label(name) } else { OTHER_NAME });
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
        let (mut provisional, mut aged) = (false, false);
        for (_, slot) in self.replaceable() {
            provisional |= slot.last_end.is_none();
            aged |= slot.last_end.is_some_and(|end| now.0 - end.0 > AGE);
        }
        self.needs_slot(name) && !provisional && aged
    }

    /// Removes the name whose sessions ended first, of those that are not in use and have had no session for a week. Returns it.
    pub(in crate::sessions::ledger) fn free_aged(
        &mut self,
        in_use: &BTreeSet<&str>,
        now: UnixTime,
    ) -> Option<String> {
        self.free_oldest(|name, end| !in_use.contains(name) && now.0 - end.0 > AGE)
    }

    fn free_oldest(&mut self, is_free: impl Fn(&str, UnixTime) -> bool) -> Option<String> {
        let ends = self.replaceable().filter_map(|(name, slot)| Some((slot.last_end?, name)));
        let (_, name) = ends.filter(|(end, name)| is_free(name, *end)).min()?;
        let name = name.to_owned();
        self.names.remove(&name);
        Some(name)
    }

    /// The names that can lose their slots.
    fn replaceable(&self) -> impl Iterator<Item = (&str, &Slot<T>)> {
        let names = self.names.iter().map(|(name, slot)| (name.as_str(), slot));
        names.filter(|(name, _)| !RESERVED.contains(name) && !self.kept.contains(*name))
    }

    fn slot(&mut self, label: &str) -> &mut Slot<T> {
        self.taken += 1;
        let slot = || Slot { value: T::default(), order: self.taken, last_end: None };
        self.names.entry(label.to_owned()).or_insert_with(slot)
    }

    /// Removes the name that was seen last and has no end. Returns it.
    fn free_provisional(&mut self) -> Option<String> {
        let provisional = self.replaceable().filter(|(_, slot)| slot.last_end.is_none());
        let name = provisional.max_by_key(|(_, slot)| slot.order)?.0.to_owned();
        self.names.remove(&name);
        Some(name)
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { names: BTreeMap::new(), taken: 0, kept: BTreeSet::new() }
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
