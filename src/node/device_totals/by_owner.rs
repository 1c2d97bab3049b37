//! Splits a value of a device into the parts of the owners of its processes.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// Kind of the owner of a part of the work of a device; values of the label `owner`.
    pub enum OwnerKind {
        /// The pods with a sidecar.
        Session = "session",
        /// The other pods.
        OtherPod = "other_pod",
        /// The processes outside of all pods.
        NoPod = "no_pod",
        /// The part that the driver's values of processes do not explain.
        Unsampled = "unsampled",
        /// The energy of the time in which the device was not busy. Only energy has this part.
        Idle = "idle",
    }
}

/// The parts of a value, by owner. Their sum is the value of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::node) struct ByOwner([f64; OwnerKind::ALL.len()]);

// === impl ByOwner ===

impl ByOwner {
    /// The parts of `value` if the owners have these parts of it; the rest is [`OwnerKind::Unsampled`]. If the parts are together
    /// more than the value, all are reduced by the same factor.
    pub(super) fn split(value: f64, parts: Self) -> Self {
        let sum = parts.sum();
        let factor = if sum > value { value / sum } else { 1.0 };
        let mut split = Self(parts.0.map(|part| part * factor));
        split.add(OwnerKind::Unsampled, (value - split.sum()).max(0.0));
        split
    }

    /// The part of this owner.
    pub(in crate::node) fn get(self, owner: OwnerKind) -> f64 {
        self.0[owner as usize]
    }

    /// Adds to the part of this owner.
    pub(super) fn add(&mut self, owner: OwnerKind, more: f64) {
        self.0[owner as usize] += more;
    }

    /// Adds the parts of another value.
    pub(super) fn add_all(&mut self, more: Self) {
        OwnerKind::ALL.into_iter().for_each(|owner| self.add(owner, more.get(owner)));
    }

    /// Each part multiplied by `factor`.
    pub(super) fn times(self, factor: f64) -> Self {
        Self(self.0.map(|part| part * factor))
    }

    fn sum(self) -> f64 {
        self.0.into_iter().fold(0.0, |sum, part| sum + part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(session: f64, no_pod: f64) -> ByOwner {
        let mut parts = ByOwner::default();
        parts.add(OwnerKind::Session, session);
        parts.add(OwnerKind::NoPod, no_pod);
        parts
    }

    #[test]
    fn the_rest_is_unsampled_and_too_large_parts_are_reduced() {
        let rest = ByOwner::split(10.0, parts(3.0, 2.0));
        assert_eq!((rest.get(OwnerKind::Session), rest.get(OwnerKind::Unsampled)), (3.0, 5.0));
        let reduced = ByOwner::split(10.0, parts(15.0, 5.0));
        assert_eq!((reduced.get(OwnerKind::Session), reduced.get(OwnerKind::NoPod)), (7.5, 2.5));
        assert_eq!((reduced.sum(), reduced.get(OwnerKind::Unsampled)), (10.0, 0.0));
        assert_eq!(ByOwner::split(0.0, parts(1.0, 1.0)).sum(), 0.0);
    }
}
