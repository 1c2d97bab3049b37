//! The objects that name devices, and the UUIDs of a session's devices. Pure.

use std::collections::{BTreeMap, HashMap};

use kube::ResourceExt;

use super::objects::{DeviceClaim, DeviceResult, DeviceSlice};
use crate::sessions::{
    ledger::{AllocatedDevice, DeviceSource, PodKey},
    pod::devices::is_uuid,
};

/// Names and devices of objects.
#[derive(Debug, Default)]
pub(super) struct AllocationStore {
    /// The devices of each claim, by namespace and name.
    claims: HashMap<(String, String), Vec<DeviceResult>>,
    /// The UUID of each device by the name of the slice. While a driver replaces a slice, two slices have the device.
    uuids: HashMap<DeviceKey, BTreeMap<String, String>>,
    /// The devices of each slice.
    slices: HashMap<String, Vec<DeviceKey>>,
    /// The UUIDs that the reservation pods of a group hold, by the key of the pod.
    reservations: HashMap<String, BTreeMap<String, String>>,
    /// The group of each reservation pod.
    groups: HashMap<String, String>,
}

/// Driver, pool and name of a device.
type DeviceKey = (String, String, String);

/// A device of a session.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AllocationInfo {
    pub(super) namespace: String,
    pub(super) pod: String,
    /// UUID of the device.
    pub(super) gpu: String,
    pub(super) source: DeviceSource,
    /// ID of the share of the device; empty if the claim has the device alone, or without a claim.
    pub(super) share: String,
}

/// A pod that holds a device for a group of other pods.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    /// Namespace and name of the pod.
    pub(super) key: String,
    pub(super) group: String,
    /// UUID of the device; none before the pod has written it.
    pub(super) uuid: Option<String>,
}

// === impl AllocationStore ===

impl AllocationStore {
    /// The devices of a pod whose UUIDs are known.
    pub(super) fn resolve(&self, key: &PodKey, device: &AllocatedDevice) -> Vec<AllocationInfo> {
        let AllocatedDevice { source, id } = device;
        let info = |gpu: &str, share: Option<&str>| AllocationInfo {
            namespace: key.namespace.clone(),
            pod: key.name.clone(),
            gpu: gpu.to_owned(),
            source: *source,
            share: share.unwrap_or_default().to_owned(),
        };
        match source {
            DeviceSource::Kubelet | DeviceSource::Hami => {
                is_uuid(id).then(|| info(id, None)).into_iter().collect()
            }
            DeviceSource::Reservation => {
                let uuids = self.reservations.get(id).into_iter().flat_map(BTreeMap::values);
                uuids.map(|uuid| info(uuid, None)).collect()
            }
            DeviceSource::Claim => {
                let claim = self.claims.get(&(key.namespace.clone(), id.clone())).into_iter().flatten();
                let known = claim.filter_map(|result| Some((self.uuid(result)?, result.share_id.as_deref())));
                known.map(|(uuid, share)| info(uuid, share)).collect()
            }
            // The claim has the same device.
            DeviceSource::ClaimDevice => vec![],
        }
    }

    fn uuid(&self, result: &DeviceResult) -> Option<&str> {
        let key = (result.driver.clone(), result.pool.clone(), result.device.clone());
        self.uuids.get(&key)?.values().next().map(String::as_str)
    }

    pub(super) fn set_claim(&mut self, claim: DeviceClaim) {
        let key = (claim.namespace().unwrap_or_default(), claim.name_any());
        match claim.status.and_then(|status| status.allocation) {
            Some(allocation) => _ = self.claims.insert(key, allocation.devices.results),
            None => _ = self.claims.remove(&key),
        }
    }

    pub(super) fn remove_claim(&mut self, claim: &DeviceClaim) {
        self.claims.remove(&(claim.namespace().unwrap_or_default(), claim.name_any()));
    }

    pub(super) fn set_slice(&mut self, slice: DeviceSlice) {
        let name = slice.name_any();
        self.remove_slice(&name);
        let mut keys = vec![];
        for device in slice.spec.devices {
            let Some(uuid) = device.attributes.uuid.and_then(|uuid| uuid.string) else { continue };
            let key = (slice.spec.driver.clone(), slice.spec.pool.name.clone(), device.name);
            self.uuids.entry(key.clone()).or_default().insert(name.clone(), uuid);
            keys.push(key);
        }
        self.slices.insert(name, keys);
    }

    pub(super) fn remove_slice(&mut self, name: &str) {
        for key in self.slices.remove(name).into_iter().flatten() {
            if let Some(of_slices) = self.uuids.get_mut(&key) {
                of_slices.remove(name);
                if of_slices.is_empty() {
                    self.uuids.remove(&key);
                }
            }
        }
    }

    pub(super) fn set_reservation(&mut self, reservation: Reservation) {
        self.remove_reservation(&reservation.key);
        let Reservation { key, group, uuid: Some(uuid) } = reservation else { return };
        self.reservations.entry(group.clone()).or_default().insert(key.clone(), uuid);
        self.groups.insert(key, group);
    }

    pub(super) fn remove_reservation(&mut self, key: &str) {
        let Some(group) = self.groups.remove(key) else { return };
        if let Some(pods) = self.reservations.get_mut(&group) {
            pods.remove(key);
            if pods.is_empty() {
                self.reservations.remove(&group);
            }
        }
    }

    pub(super) fn clear_claims(&mut self) {
        self.claims.clear();
    }

    pub(super) fn clear_slices(&mut self) {
        self.uuids.clear();
        self.slices.clear();
    }

    pub(super) fn clear_reservations(&mut self) {
        self.reservations.clear();
        self.groups.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn claim(name: &str, share: Option<&str>) -> DeviceClaim {
        let result = json!({"request": "gpu", "driver": "gpu.nvidia.com", "pool": "node-1", "device": "gpu-0", "shareID": share});
        let value: Value = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {"name": name, "namespace": "desktops"}, "spec": {},
            "status": {"allocation": {"devices": {"results": [result]}}}});
        from_value(value).unwrap()
    }

    fn slice(name: &str, device: &str, uuid: &str) -> DeviceSlice {
        let device = json!({"name": device, "attributes": {"uuid": {"string": uuid}, "index": {"int": 0}}});
        from_value(json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name},
            "spec": {"driver": "gpu.nvidia.com", "pool": {"name": "node-1", "generation": 1}, "devices": [device]}}))
        .unwrap()
    }

    fn gpus(store: &AllocationStore, source: DeviceSource, id: &str) -> Vec<(String, String)> {
        let key = PodKey { namespace: "desktops".into(), name: "alice".into() };
        let found = store.resolve(&key, &AllocatedDevice { source, id: id.into() });
        assert!(found.iter().all(|info| (&*info.namespace, &*info.pod) == ("desktops", "alice")));
        found.into_iter().map(|info| (info.gpu, info.share)).collect()
    }

    #[test]
    fn a_claim_leads_to_the_uuid_of_its_slice() {
        let mut store = AllocationStore::default();
        store.set_claim(claim("c", Some("s1")));
        assert_eq!(gpus(&store, DeviceSource::Claim, "c"), []);
        store.set_slice(slice("slice-1", "gpu-0", "GPU-1"));
        let expected = [("GPU-1".to_owned(), "s1".to_owned())];
        assert_eq!(gpus(&store, DeviceSource::Claim, "c"), expected);
        // The driver replaces the slice.
        store.set_slice(slice("slice-2", "gpu-0", "GPU-1"));
        store.remove_slice("slice-1");
        assert_eq!(gpus(&store, DeviceSource::Claim, "c"), expected);
        assert_eq!(gpus(&store, DeviceSource::Claim, "other"), []);
        store.remove_claim(&claim("c", None));
        assert_eq!(gpus(&store, DeviceSource::Claim, "c"), []);
    }

    #[test]
    fn a_group_leads_to_the_uuid_of_its_reservation_pod() {
        let reservation = |uuid: Option<&str>| Reservation {
            key: "r/p".into(),
            group: "g".into(),
            uuid: uuid.map(Into::into),
        };
        let mut store = AllocationStore::default();
        store.set_reservation(reservation(None));
        assert_eq!(gpus(&store, DeviceSource::Reservation, "g"), []);
        store.set_reservation(reservation(Some("GPU-7")));
        assert_eq!(gpus(&store, DeviceSource::Reservation, "g"), [("GPU-7".to_owned(), String::new())]);
        store.remove_reservation("r/p");
        assert_eq!(gpus(&store, DeviceSource::Reservation, "g"), []);
    }

    #[test]
    fn an_id_without_a_uuid_has_no_series() {
        let store = AllocationStore::default();
        assert_eq!(gpus(&store, DeviceSource::Kubelet, "GPU-1"), [("GPU-1".to_owned(), String::new())]);
        assert_eq!(gpus(&store, DeviceSource::Kubelet, "nvidia0/vgpu1"), []);
        assert_eq!(gpus(&store, DeviceSource::ClaimDevice, "k8s.gpu.nvidia.com/device=x"), []);
    }
}
