//! Decides which devices belong to which session, from the assignments and the driver's process lists. Pure.

use std::collections::HashMap;

use crate::{
    gpu::{Device, id::Id},
    sampling::sharing::Sharing,
};

/// A pod by its UID, or a process outside of all pods.
pub(super) type Owner<'a> = Option<&'a str>;

/// What the node shows at one poll.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeView<'a> {
    /// The devices of the node, in the driver's order.
    pub(super) devices: &'a [Device],
    /// The devices that the kubelet or another scheduler has assigned, by the UID of the pod. Without pods whose devices are not
    /// known.
    pub(super) assigned: &'a HashMap<String, Vec<Id>>,
    /// The devices that the kubelet has allocated to each pod, with the UID if the pod is a session. What annotations say about other
    /// pods does not count for a session, because a user can write them.
    pub(super) listed: &'a [(Owner<'a>, &'a [Id])],
    /// How a pod's annotation says that its devices are shared, by UID.
    pub(super) annotated: &'a HashMap<String, Sharing>,
    /// The owners of the processes of each device, in the order of `devices`.
    pub(super) owners: &'a [Vec<Owner<'a>>],
}

/// A device of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributed {
    /// Index in [`NodeView::devices`].
    pub(super) index: usize,
    pub(super) sharing: Sharing,
    /// Whether a process of the pod is on the device although other devices, or none, are assigned to the pod.
    pub(super) is_unassigned: bool,
    /// Whether the kubelet has allocated the device to another pod too, or a process of another owner is on it.
    pub(super) has_others: bool,
}

// === impl NodeView ===

impl NodeView<'_> {
    /// The devices of the pod with this UID, in the driver's order: assigned devices, and devices with a process of the pod. A
    /// card with MIG enabled is never in the list, because only its slices can be assigned.
    pub(super) fn devices_of(&self, pod: &str) -> Vec<Attributed> {
        let indices = (0..self.devices.len()).filter(|index| !self.devices[*index].mig_enabled);
        indices.filter_map(|index| self.attributed(pod, index)).collect()
    }

    /// Whether it is known which devices are assigned to the pod.
    pub(super) fn is_assignment_known(&self, pod: &str) -> bool {
        self.assigned.contains_key(pod)
    }

    fn attributed(&self, pod: &str, index: usize) -> Option<Attributed> {
        let own = self.assigned.get(pod).into_iter().flatten().filter(|id| id.names(self.devices, index));
        let own: Vec<&Id> = own.collect();
        let is_used = self.owners(index).any(|owner| owner == Some(pod));
        (is_used || !own.is_empty()).then(|| {
            let of_others = self.ids_of_others(pod, index);
            let has_others = !of_others.is_empty() || self.owners(index).any(|owner| owner != Some(pod));
            let has_other_pods =
                !of_others.is_empty() || self.owners(index).flatten().any(|owner| owner != pod);
            // A user can write the annotation. The work of other pods must not become the session's.
            let is_possible = |sharing: &Sharing| !has_other_pods || !sharing.is_exclusive();
            let annotated = self.annotated.get(pod).copied().filter(is_possible);
            let sharing = annotated.unwrap_or_else(|| self.sharing(index, &own, &of_others, has_others));
            let is_unassigned = own.is_empty() && self.is_assignment_known(pod);
            Attributed { index, sharing, is_unassigned, has_others }
        })
    }

    /// The IDs of the device that the kubelet has allocated to other pods.
    fn ids_of_others(&self, pod: &str, index: usize) -> Vec<&Id> {
        let ids = self.listed.iter().filter(|(owner, _)| *owner != Some(pod)).flat_map(|(_, ids)| *ids);
        ids.filter(|id| id.names(self.devices, index)).collect()
    }

    /// How the device is shared. `own` are the pod's IDs of the device. A replica shows it. Without one, the device is possibly shared
    /// if another pod has it or uses it, or if it is not assigned to the pod.
    fn sharing(&self, index: usize, own: &[&Id], of_others: &[&Id], has_others: bool) -> Sharing {
        let device = &self.devices[index];
        let is_replica = own.iter().chain(of_others).any(|id| id.is_replica);
        if device.exclusive_process {
            Sharing::Mps
        } else if is_replica {
            Sharing::TimeSlicing
        } else if own.is_empty() || has_others {
            Sharing::Unknown
        } else if device.slice.is_some() {
            Sharing::Mig
        } else {
            Sharing::Exclusive
        }
    }

    fn owners(&self, index: usize) -> impl Iterator<Item = Owner<'_>> {
        self.owners.get(index).into_iter().flatten().copied()
    }
}

/// Whether each of these IDs names a device that a pod can have. Otherwise the pod has a device that is lost, or a slice of a card
/// that only the card's ID shows.
pub(super) fn are_identified(ids: &[Id], devices: &[Device]) -> bool {
    let names_one =
        |id: &Id| (0..devices.len()).any(|index| !devices[index].mig_enabled && id.names(devices, index));
    ids.iter().all(names_one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Slice, id};

    const UUIDS: [&str; 3] = [
        "GPU-00000000-0000-0000-0000-000000000000",
        "GPU-11111111-1111-1111-1111-111111111111",
        "MIG-22222222-2222-2222-2222-222222222222",
    ];

    /// Two cards and a slice of a third card.
    fn devices() -> Vec<Device> {
        let card =
            |index: usize| Device { uuid: UUIDS[index].into(), index: index as u32, ..Device::default() };
        let third = Device {
            uuid: "GPU-33333333-3333-3333-3333-333333333333".into(),
            index: 2,
            mig_enabled: true,
            ..Device::default()
        };
        let slice = Slice { card: "GPU-33333333-3333-3333-3333-333333333333".into(), ..Slice::default() };
        let slice = Device { uuid: UUIDS[2].into(), index: 2, slice: Some(slice), ..Device::default() };
        vec![card(0), card(1), third, slice]
    }

    fn devices_of(
        pod: &str,
        assigned: &[(&str, &str)],
        owners: &[(usize, Owner<'_>)],
    ) -> Vec<(usize, Sharing, bool)> {
        devices_beside(pod, assigned, owners, &[], None)
    }

    fn devices_beside(
        pod: &str,
        assigned: &[(&str, &str)],
        owners: &[(usize, Owner<'_>)],
        others: &[&str],
        annotated: Option<Sharing>,
    ) -> Vec<(usize, Sharing, bool)> {
        let devices = devices();
        let assigned: HashMap<_, _> =
            assigned.iter().map(|(uid, ids)| ((*uid).to_owned(), id::list(ids).unwrap())).collect();
        let mut by_device = vec![vec![]; devices.len()];
        owners.iter().for_each(|(index, owner)| by_device[*index].push(*owner));
        let others: Vec<Vec<Id>> = others.iter().map(|ids| id::list(ids).unwrap()).collect();
        let sessions = assigned.iter().map(|(uid, ids)| (Some(uid.as_str()), ids.as_slice()));
        let listed: Vec<(Owner<'_>, &[Id])> =
            sessions.chain(others.iter().map(|ids| (None, ids.as_slice()))).collect();
        let annotated = annotated.map(|sharing| (pod.to_owned(), sharing)).into_iter().collect();
        let view = NodeView {
            devices: &devices,
            assigned: &assigned,
            listed: &listed,
            annotated: &annotated,
            owners: &by_device,
        };
        let plain = |Attributed { index, sharing, is_unassigned, .. }| (index, sharing, is_unassigned);
        view.devices_of(pod).into_iter().map(plain).collect()
    }

    #[test]
    fn an_assigned_device_is_the_pods_whether_or_not_it_is_used() {
        let [card, _, slice] = UUIDS;
        assert_eq!(devices_of("a", &[("a", card)], &[]), [(0, Sharing::Exclusive, false)]);
        assert_eq!(devices_of("a", &[("a", card)], &[(0, Some("a"))]), [(0, Sharing::Exclusive, false)]);
        assert_eq!(devices_of("a", &[("a", slice)], &[]), [(3, Sharing::Mig, false)]);
        assert_eq!(devices_of("b", &[("a", card)], &[]), []);
        assert_eq!(
            devices_of("a", &[("a", "GPU-33333333-3333-3333-3333-333333333333")], &[]),
            [],
            "a card with MIG"
        );
    }

    #[test]
    fn a_replica_is_shared_although_only_one_pod_has_one() {
        let replica = format!("{}::3", UUIDS[0]);
        assert_eq!(devices_of("a", &[("a", &replica)], &[]), [(0, Sharing::TimeSlicing, false)]);
        assert_eq!(
            devices_of("b", &[("a", &replica), ("b", &replica)], &[]),
            [(0, Sharing::TimeSlicing, false)]
        );
    }

    #[test]
    fn a_device_of_two_pods_or_with_a_foreign_process_may_be_shared() {
        let [card, ..] = UUIDS;
        let unknown = [(0, Sharing::Unknown, false)];
        assert_eq!(devices_of("a", &[("a", card), ("b", card)], &[]), unknown);
        assert_eq!(devices_of("a", &[("a", card)], &[(0, Some("b"))]), unknown);
        assert_eq!(devices_of("a", &[("a", card)], &[(0, None)]), unknown);
    }

    #[test]
    fn a_device_of_a_pod_that_is_not_a_session_may_be_shared() {
        let [card, other, _] = UUIDS;
        let sharing = |others: &[&str]| devices_beside("a", &[("a", card)], &[], others, None)[0].1;
        assert_eq!(sharing(&["", other]), Sharing::Exclusive);
        assert_eq!(sharing(&[other, card]), Sharing::Unknown);
        assert_eq!(sharing(&[&format!("{other},{card}::1")]), Sharing::TimeSlicing);
        let used = devices_beside("a", &[], &[(0, Some("a"))], &[card], None);
        assert_eq!(used, [(0, Sharing::Unknown, false)], "one pod has the card, and another one uses it");
    }

    #[test]
    fn an_annotation_of_the_pod_overrides_how_its_devices_are_shared() {
        let [card, other, _] = UUIDS;
        let replica = format!("{card}::3");
        let assigned = [("a", &*replica), ("b", other)];
        let sharing = |pod, annotated| devices_beside(pod, &assigned, &[], &[other], annotated)[0].1;
        assert_eq!(sharing("a", Some(Sharing::Exclusive)), Sharing::Exclusive);
        assert_eq!(sharing("a", None), Sharing::TimeSlicing);
        assert_eq!(sharing("b", Some(Sharing::Mps)), Sharing::Mps);
        assert_eq!(sharing("b", None), Sharing::Unknown);
    }

    #[test]
    fn other_pods_and_processes_are_seen_beside_the_pod() {
        let (devices, ids) = (devices(), id::list(UUIDS[0]).unwrap());
        let has_others = |listed: &[(Owner<'_>, &[Id])], owners: &[Vec<Owner<'_>>]| {
            let (assigned, annotated) = (&[("a".to_owned(), ids.clone())].into(), &HashMap::new());
            let view = NodeView { devices: &devices, assigned, listed, annotated, owners };
            view.devices_of("a")[0].has_others
        };
        let own: (Owner<'_>, &[Id]) = (Some("a"), &ids);
        assert!(!has_others(&[own], &[vec![Some("a")]]));
        assert!(has_others(&[own, (None, &ids)], &[]));
        assert!(has_others(&[own], &[vec![Some("a"), None]]) && has_others(&[own], &[vec![Some("b")]]));
    }

    #[test]
    fn an_annotation_makes_no_device_of_another_pod_exclusive() {
        let [card, ..] = UUIDS;
        let sharing = |owners: &[(usize, Owner<'_>)], others: &[&str]| {
            devices_beside("a", &[("a", card)], owners, others, Some(Sharing::Exclusive))[0].1
        };
        assert_eq!(
            sharing(&[(0, Some("a")), (0, None)], &[]),
            Sharing::Exclusive,
            "the node's display server"
        );
        assert_eq!(sharing(&[(0, Some("b"))], &[]), Sharing::Unknown);
        assert_eq!(sharing(&[], &[card]), Sharing::Unknown);
    }

    /// A user can write the annotation of a scheduler.
    #[test]
    fn an_assignment_by_annotation_does_not_change_the_sharing_of_another_pod() {
        let (devices, ids) = (devices(), id::list(UUIDS[0]).unwrap());
        let view = NodeView {
            devices: &devices,
            assigned: &["a", "b"].map(|uid| (uid.to_owned(), ids.clone())).into(),
            listed: &[(Some("a"), &ids), (Some("b"), &[])],
            annotated: &HashMap::new(),
            owners: &[],
        };
        assert_eq!(view.devices_of("a")[0].sharing, Sharing::Exclusive);
        assert_eq!(view.devices_of("b")[0].sharing, Sharing::Unknown);
    }

    #[test]
    fn a_device_that_no_pod_can_have_is_not_identified() {
        let are_identified = |ids: &str| are_identified(&id::list(ids).unwrap(), &devices());
        let [card, other, slice] = UUIDS;
        assert!(are_identified(""));
        assert!(are_identified(&format!("{card},{slice},{other}::1")));
        assert!(
            !are_identified(&format!("{card},GPU-33333333-3333-3333-3333-333333333333")),
            "a card with MIG"
        );
        assert!(!are_identified("GPU-44444444-4444-4444-4444-444444444444"), "a lost card");
    }

    /// MPS can run a process on another card than the assigned one (dcgm-exporter#568).
    #[test]
    fn a_device_that_is_used_without_an_assignment_is_the_pods_too() {
        let [card, ..] = UUIDS;
        assert_eq!(
            devices_of("a", &[("a", card)], &[(1, Some("a"))]),
            [(0, Sharing::Exclusive, false), (1, Sharing::Unknown, true)]
        );
        assert_eq!(devices_of("a", &[], &[]), []);
    }
}
