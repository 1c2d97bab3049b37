//! The sessions of each device.

use std::collections::HashSet;

use super::by_owner::OwnerKind;
use crate::node::attribution::{Attributed, Owner};

/// The sessions of the node at one poll, and their devices.
#[derive(Debug, Default)]
pub(in crate::node) struct NodeSessions {
    /// The UIDs of all pods with a sidecar; none if they could not be found.
    uids: Option<HashSet<String>>,
    /// The sessions of each device, by the index of the device.
    devices: Vec<DeviceSessions>,
}

/// The sessions of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct DeviceSessions {
    /// Number of sessions to which the device is assigned, or which have a process on it.
    pub(in crate::node) count: usize,
    /// Number of sessions that have a process on the device although other devices, or none, are assigned to them.
    pub(in crate::node) mismatched: usize,
    /// Whether one session has the device alone, so that its use is all use of the device.
    pub(super) is_exclusive: bool,
}

// === impl NodeSessions ===

impl NodeSessions {
    /// The sessions with these UIDs, without devices.
    pub(in crate::node) fn new<'u>(uids: impl IntoIterator<Item = &'u str>) -> Self {
        Self { uids: Some(uids.into_iter().map(str::to_owned).collect()), devices: vec![] }
    }

    /// Number of sessions; none if they could not be found.
    pub(in crate::node) fn count(&self) -> Option<usize> {
        self.uids.as_ref().map(HashSet::len)
    }

    /// Adds the devices of one session.
    pub(in crate::node) fn add(&mut self, attributed: &[Attributed]) {
        for Attributed { index, sharing, is_unassigned, has_others } in attributed {
            if self.devices.len() <= *index {
                self.devices.resize(index + 1, DeviceSessions::default());
            }
            let device = &mut self.devices[*index];
            device.count += 1;
            device.mismatched += usize::from(*is_unassigned);
            // A user can write the annotation that sets `sharing`. It must not take the parts of other owners.
            device.is_exclusive |= !has_others && sharing.is_exclusive();
        }
    }

    /// The sessions of the device with this index; none if the sessions could not be found.
    pub(in crate::node) fn of_device(&self, index: usize) -> Option<DeviceSessions> {
        self.uids.as_ref()?;
        Some(self.devices.get(index).copied().unwrap_or_default())
    }

    /// The kind of an owner of processes; none if the sessions could not be found, so that the pods are not known.
    pub(in crate::node) fn kind(&self, owner: Owner<'_>) -> Option<OwnerKind> {
        let Some(pod) = owner else { return Some(OwnerKind::NoPod) };
        let is_session = self.uids.as_ref()?.contains(pod);
        Some(if is_session { OwnerKind::Session } else { OwnerKind::OtherPod })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::sharing::Sharing;

    fn attributed(index: usize, is_unassigned: bool) -> Attributed {
        Attributed { index, sharing: Sharing::Unknown, is_unassigned, has_others: false }
    }

    /// MPS can run all processes of a pod on the first card (`dcgm-exporter#568`).
    #[test]
    fn a_process_on_a_card_that_is_not_assigned_is_a_mismatch() {
        let mut sessions = NodeSessions::new(["a", "b"]);
        sessions.add(&[attributed(0, false), attributed(1, true)]);
        sessions.add(&[attributed(0, false)]);
        sessions.add(&[attributed(1, false)]);
        let counts = |index| sessions.of_device(index).map(|device| (device.count, device.mismatched));
        assert_eq!((counts(0), counts(1), counts(2)), (Some((2, 0)), Some((2, 1)), Some((0, 0))));
    }

    #[test]
    fn a_device_with_other_owners_is_not_exclusive_whatever_an_annotation_says() {
        let is_exclusive = |has_others| {
            let mut sessions = NodeSessions::new(["a"]);
            sessions.add(&[Attributed { sharing: Sharing::Exclusive, has_others, ..attributed(0, false) }]);
            sessions.of_device(0).unwrap().is_exclusive
        };
        assert_eq!((is_exclusive(false), is_exclusive(true)), (true, false));
    }

    #[test]
    fn without_the_sessions_no_pod_has_a_kind() {
        let unknown = NodeSessions::default();
        assert_eq!((unknown.kind(Some("a")), unknown.kind(None)), (None, Some(OwnerKind::NoPod)));
        assert_eq!((unknown.of_device(0), unknown.count()), (None, None));
        let known = NodeSessions::new(["a"]);
        assert_eq!(known.kind(Some("a")), Some(OwnerKind::Session));
        assert_eq!(known.kind(Some("b")), Some(OwnerKind::OtherPod));
    }
}
