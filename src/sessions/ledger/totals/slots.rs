//! A bounded table of names that become label values.

use std::collections::BTreeMap;

/// Label value for sessions without a name.
pub(in crate::sessions::ledger) const NO_NAME: &str = "none";

/// Label value for all names that have no slot.
pub(in crate::sessions::ledger) const OTHER_NAME: &str = "other";

/// Names that users may not take: a session with such a name counts as [`OTHER_NAME`].
const RESERVED: [&str; 2] = [NO_NAME, OTHER_NAME];

/// Maximum number of names with a slot, without [`NO_NAME`] and [`OTHER_NAME`]. The creator of a pod chooses its names, so without
/// a bound the exposition could become too large.
pub(in crate::sessions::ledger) const MAX_NAMES: usize = 200;

/// Values by name. A name takes its slot at the first end of a session. Before, it has a slot only while slots are free, so that
/// its counters show 0 before their first event. So pods that never start cannot keep slots from names whose sessions end.
#[derive(Debug)]
pub(in crate::sessions::ledger) struct Slots<T> {
    names: BTreeMap<String, Slot<T>>,
    /// Number of names so far; gives the order of the slots.
    taken: u64,
}

#[derive(Debug)]
struct Slot<T> {
    value: T,
    /// `None` once a session has ended; otherwise the order in which the names were seen.
    provisional: Option<u64>,
}

/// A value that can take over the counts of a name that lost its provisional slot.
pub(in crate::sessions::ledger) trait Merge {
    /// Adds the counts of `other`.
    fn merge(&mut self, other: Self);
}

// === impl Slots ===

impl<T: Default + Merge> Slots<T> {
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
        let label = label(name);
        if !self.names.contains_key(label) && self.is_full() && !RESERVED.contains(&label) {
            return &mut self.slot(OTHER_NAME).value;
        }
        &mut self.slot(label).value
    }

    /// The value of a name with a session that ended. The name takes a slot, if necessary that of a name without an end.
    pub(in crate::sessions::ledger) fn ended(&mut self, name: Option<&str>) -> &mut T {
        let label = label(name);
        let needs_slot = !self.names.contains_key(label) && !RESERVED.contains(&label);
        if needs_slot && self.is_full() && !self.free_one() {
            return &mut self.slot(OTHER_NAME).value;
        }
        let slot = self.slot(label);
        slot.provisional = None;
        &mut slot.value
    }

    fn slot(&mut self, label: &str) -> &mut Slot<T> {
        self.taken += 1;
        let provisional = (!RESERVED.contains(&label)).then_some(self.taken);
        let slot = || Slot { value: T::default(), provisional };
        self.names.entry(label.to_owned()).or_insert_with(slot)
    }

    fn is_full(&self) -> bool {
        let reserved = RESERVED.iter().filter(|name| self.names.contains_key(**name)).count();
        self.names.len() - reserved >= MAX_NAMES
    }

    /// Takes the slot of the name that was seen last and has no end. Its counts go to [`OTHER_NAME`].
    fn free_one(&mut self) -> bool {
        let provisional = self.names.iter().filter_map(|(name, slot)| Some((slot.provisional?, name)));
        let Some(name) = provisional.max().map(|(_, name)| name.clone()) else { return false };
        if let Some(slot) = self.names.remove(&name) {
            self.slot(OTHER_NAME).value.merge(slot.value);
        }
        true
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { names: BTreeMap::new(), taken: 0 }
    }
}

/// The label value that a name would have without a bound.
fn label(name: Option<&str>) -> &str {
    match name.filter(|name| !name.is_empty()) {
        None => NO_NAME,
        Some(name) if RESERVED.contains(&name) => OTHER_NAME,
        Some(name) => name,
    }
}

impl Merge for () {
    fn merge(&mut self, (): Self) {}
}
