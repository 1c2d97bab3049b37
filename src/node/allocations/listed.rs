//! The GPUs in the kubelet's list. Pure.

use std::collections::HashMap;

use crate::{
    gpu::{Device, id::Id},
    node::pod_resources::allocation::{ClaimDevice, PodAllocation, PodName},
};

/// The GPUs of the pods that the kubelet lists.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct ListedGpus(HashMap<PodName, PodGpus>);

#[derive(Clone, Debug, Default)]
struct PodGpus {
    ids: Vec<Id>,
    /// Whether the pod has another GPU, whose name in the list does not show which GPU it is.
    has_unknown: bool,
}

/// NVIDIA's DRA driver.
const NVIDIA_DRA: &str = "gpu.nvidia.com";

/// Namespaces of KAI's and Run:ai's reservation pods. A reservation pod holds one card for the pods that have parts of it. KAI
/// recognises its reservation pods by the namespace too (`syncForPods` in `pkg/binder/binding/resourcereservation`), because their
/// names differ from release to release.
const RESERVATIONS: [&str; 2] = ["kai-resource-reservation", "runai-reservation"];

// === impl ListedGpus ===

impl ListedGpus {
    /// The GPUs in the kubelet's list.
    ///
    /// The kubelet of Kubernetes 1.33 also lists pods that have ended. Their entries have no devices and need no special rule:
    /// `List` first releases the devices of ended pods (`UpdateAllocatedDevices` in `pkg/kubelet/cm/devicemanager/manager.go`), and
    /// the kubelet forgets a claim when its last pod has ended (`unprepareResources` in `pkg/kubelet/cm/dra/manager.go`). An ended pod
    /// and the pod that replaces it can have the same name, so the entries of a name are added.
    pub(in crate::node) fn of(pods: &[PodAllocation]) -> Self {
        let mut listed = Self::default();
        for pod in pods {
            listed.0.entry(pod.name.clone()).or_default().add(pod);
        }
        listed
    }

    /// The GPUs of a pod; none if they are not known, because the kubelet does not list the pod, or does not show which GPU it has.
    pub(in crate::node) fn of_pod(&self, name: &PodName) -> Option<&[Id]> {
        self.0.get(name)?.known()
    }

    /// The GPUs of each pod, without those whose names do not show which GPU it is.
    pub(in crate::node) fn all(&self) -> impl Iterator<Item = (&PodName, &[Id])> {
        self.0.iter().map(|(name, gpus)| (name, &*gpus.ids))
    }

    /// Whether one of these devices is allocated to a pod with another name.
    pub(in crate::node) fn are_of_other_pods(
        &self,
        ids: &[Id],
        name: Option<&PodName>,
        devices: &[Device],
    ) -> bool {
        let others = self.all().filter(|(other, _)| Some(*other) != name).flat_map(|(_, ids)| ids);
        let others: Vec<&Id> = others.collect();
        let names = |id: &Id, index| id.names(devices, index);
        (0..devices.len()).any(|index| {
            ids.iter().any(|id| names(id, index)) && others.iter().any(|other| names(other, index))
        })
    }

    /// The cards that reservation pods hold, if there are `number` of them: then a pod with parts of `number` cards has parts of
    /// these cards. None if there are more, because only labels of the pods show which pod has which card.
    ///
    /// A reservation pod is ready before KAI binds the first pod with a part of its card (`ReserveGpuDevice`).
    pub(in crate::node) fn reserved(&self, number: usize) -> Option<Vec<Id>> {
        let is_reservation = |name: &PodName| RESERVATIONS.contains(&&*name.namespace);
        let mut cards: Vec<Id> = vec![];
        for (_, gpus) in self.0.iter().filter(|(name, _)| is_reservation(name)) {
            for id in gpus.known().filter(|ids| !ids.is_empty())? {
                let card = id.clone().into_replica();
                if !cards.contains(&card) {
                    cards.push(card);
                }
            }
        }
        (cards.len() == number).then_some(cards)
    }
}

// === impl PodGpus ===

impl PodGpus {
    fn known(&self) -> Option<&[Id]> {
        (!self.has_unknown).then_some(&self.ids)
    }

    fn add(&mut self, pod: &PodAllocation) {
        for name in &pod.devices {
            match Id::of_plugin(name) {
                Some(id) => self.ids.push(id),
                // HAMi and Volcano write `GPU-<uuid>-<n>`, and allocate another card than this one (HAMi#1741).
                None => self.has_unknown |= name.starts_with("GPU-") || name.starts_with("MIG-"),
            }
        }
        for device in &pod.claimed {
            let ids = claimed(device);
            self.has_unknown |= ids.is_empty() && device.driver == NVIDIA_DRA;
            self.ids.extend(ids);
        }
    }
}

/// The GPUs of a device of a claim. NVIDIA's driver names a device by minor number, and its CDI IDs repeat this name
/// (`GetClaimDeviceName` in the driver's `cdi.go`). A device of another driver is a GPU only if a CDI ID has the UUID of an NVIDIA GPU.
fn claimed(device: &ClaimDevice) -> Vec<Id> {
    let named = Id::of_dra_device(&device.device).filter(|_| device.driver == NVIDIA_DRA);
    let ids = match named {
        Some(id) => vec![id],
        None => device.cdi_ids.iter().filter_map(|id| Id::uuid(id)).collect(),
    };
    // Other claims can have shares of this device too (KEP-5075; `ConsumableShares` of NVIDIA's driver).
    let is_share = device.share_id.is_some();
    ids.into_iter().map(|id| if is_share { id.into_replica() } else { id }).collect()
}

#[cfg(test)]
mod tests;
