//! The GPUs of a pod, as its metadata and its status show them.
//!
//! Other people's schedulers come first: with HAMi and KAI the kubelet's status names other devices or none.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{spec::Spec, status::Status};
use crate::sessions::ledger::{AllocatedDevice, DeviceSource};

/// Annotation of HAMi: for each container a list of devices `<uuid>,NVIDIA,<MiB>,<cores>:`, and `;` after each container
/// (`EncodePodSingleDevice` in HAMi's `pkg/device/devices.go`). HAMi's plugin ignores the IDs that the kubelet allocates (HAMi#1741).
const HAMI: &str = "hami.io/vgpu-devices-allocated";

/// Labels of KAI and Run:ai with the groups of which the pod has a part: this key, and keys that begin with it and `/`
/// (`GetGpuGroups` in KAI's `pkg/common/resources`). The device is held by the group's reservation pod.
pub(in crate::sessions) const GROUP: &str = "runai-gpu-group";

/// Resources of the kubelet's status whose names begin so belong to resource claims. Their IDs are CDI IDs.
const CLAIM: &str = "claim:";

/// The driver and the vendor in CDI IDs of NVIDIA's DRA driver: `k8s.gpu.nvidia.com/device=...`.
const NVIDIA_CDI: &str = "gpu.nvidia.com/";

/// Maximum bytes of a UUID, and of the ID of another device. A UUID of NVML has 40 to 52 (`MIG-GPU-<uuid>/<gi>/<ci>` of drivers before 470).
const MAX_UUID: usize = 64;
const MAX_ID: usize = 253;

/// Maximum number of devices of a pod that are decoded.
const MAX_DEVICES: usize = 64;

/// The GPUs of the pod, without duplicates of the same source.
pub(super) fn devices(metadata: &ObjectMeta, spec: &Spec, status: &Status) -> Vec<AllocatedDevice> {
    let mut devices = hami(metadata);
    if devices.is_empty() {
        devices = groups(metadata);
    }
    if devices.is_empty() {
        devices = of_kubelet(status);
    }
    devices.extend(claims(spec, status));
    devices.retain(|device| device.id.len() <= MAX_ID);
    devices.truncate(MAX_DEVICES);
    devices
}

fn device(source: DeviceSource, id: &str) -> AllocatedDevice {
    AllocatedDevice { source, id: id.to_owned() }
}

fn hami(metadata: &ObjectMeta) -> Vec<AllocatedDevice> {
    let text = metadata.annotations.as_ref().and_then(|annotations| annotations.get(HAMI));
    let entries = text.into_iter().flat_map(|text| text.split([';', ':']));
    // Old releases name a slice as `<uuid>[<template>-<slot>]`.
    let id = |entry: &str| entry.split([',', '[']).next().unwrap_or_default().trim().to_owned();
    let ids = entries.map(id).filter(|id| is_uuid(id));
    ids.map(|id| device(DeviceSource::Hami, &id)).collect()
}

fn groups(metadata: &ObjectMeta) -> Vec<AllocatedDevice> {
    let none = BTreeMap::new();
    let labels = metadata.labels.as_ref().unwrap_or(&none);
    let is_group =
        |key: &str| key.strip_prefix(GROUP).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let groups = labels.iter().filter(|(key, _)| is_group(key));
    groups.map(|(_, group)| device(DeviceSource::Reservation, group)).collect()
}

/// Native sidecars have no such status (kubernetes#139940).
fn of_kubelet(status: &Status) -> Vec<AllocatedDevice> {
    let containers = status.container_statuses.iter().flatten();
    let resources = containers.flat_map(|container| &container.allocated_resources_status);
    let devices =
        resources.flat_map(|resource| resource.resources.iter().map(|health| (&*resource.name, &*health.id)));
    devices.filter_map(|(resource, id)| gpu(resource, id)).collect()
}

/// The device if it is an NVIDIA GPU.
fn gpu(resource: &str, id: &str) -> Option<AllocatedDevice> {
    if resource.starts_with(CLAIM) {
        return id.contains(NVIDIA_CDI).then(|| device(DeviceSource::ClaimDevice, id));
    }
    // A replica has `::<number>` at the end.
    let id = id.split("::").next().unwrap_or_default();
    let is_gpu_resource = resource
        .strip_prefix("nvidia.com/")
        .is_some_and(|name| name == "gpu" || name.starts_with("gpu.") || name.starts_with("mig-"));
    (is_uuid(id) || is_gpu_resource).then(|| device(DeviceSource::Kubelet, id))
}

/// The claims of the pod, by their names in the pod's namespace. The status has the names of claims from templates, and of the claim for
/// extended resources that a DRA driver allocates.
fn claims(spec: &Spec, status: &Status) -> Vec<AllocatedDevice> {
    let named =
        spec.resource_claims.iter().flatten().filter_map(|claim| claim.resource_claim_name.as_deref());
    let created = status.resource_claim_statuses.iter().flatten();
    let created = created.chain(&status.extended_resource_claim_status);
    let created = created.filter_map(|claim| claim.resource_claim_name.as_deref());
    named.chain(created).map(|name| device(DeviceSource::Claim, name)).collect()
}

/// Whether the ID is the UUID of a card or a slice, as NVML and DCGM write it. The creator of a pod can write an annotation of 256 KiB.
pub(in crate::sessions) fn is_uuid(id: &str) -> bool {
    let is_text = id.len() <= MAX_UUID && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_text && (id.starts_with("GPU-") || id.starts_with("MIG-"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::sessions::pod::WatchedPod;

    fn devices_of(pod: Value) -> Vec<(&'static str, String)> {
        let pod: WatchedPod = serde_json::from_value(pod).unwrap();
        let devices = devices(&pod.metadata, &pod.spec, &pod.status.unwrap_or_default());
        devices.into_iter().map(|device| (device.source.as_str(), device.id)).collect()
    }

    fn of_kubelet(resource: &str, ids: &[&str]) -> Value {
        let ids: Vec<_> = ids.iter().map(|id| json!({"resourceID": id})).collect();
        json!({"containerStatuses": [{"name": "desktop", "allocatedResourcesStatus": [{"name": resource, "resources": ids}]}]})
    }

    #[test]
    fn the_kubelet_shows_devices_of_plugins_and_of_claims() {
        for (resource, id, expected) in [
            ("nvidia.com/gpu", "GPU-1", Some(("kubelet", "GPU-1"))),
            ("nvidia.com/gpu.shared", "GPU-1::3", Some(("kubelet", "GPU-1"))),
            ("nvidia.com/mig-1g.5gb", "MIG-1", Some(("kubelet", "MIG-1"))),
            ("nvidia.com/gpu", "nvidia0/vgpu1", Some(("kubelet", "nvidia0/vgpu1"))),
            ("example.com/card", "GPU-1", Some(("kubelet", "GPU-1"))),
            (
                "claim:gpu/card",
                "k8s.gpu.nvidia.com/device=c1-gpu-0",
                Some(("claim_device", "k8s.gpu.nvidia.com/device=c1-gpu-0")),
            ),
            ("claim:net/nic", "k8s.net.example.com/device=nic-0", None),
            ("squat.ai/fuse", "fuse-1", None),
            ("nvidia.com/hostdev", "0000:01:00.0", None),
        ] {
            let found =
                devices_of(json!({"metadata": {}, "spec": {}, "status": of_kubelet(resource, &[id])}));
            let expected: Vec<_> = expected.into_iter().map(|(source, id)| (source, id.to_owned())).collect();
            assert_eq!(found, expected, "{resource} {id}");
        }
    }

    #[test]
    fn the_annotation_of_hami_and_the_labels_of_kai_come_before_the_kubelet() {
        let status = of_kubelet("nvidia.com/gpu", &["GPU-9-0"]);
        let hami = json!({"hami.io/vgpu-devices-allocated": "GPU-1,NVIDIA,1024,30:GPU-2,NVIDIA,1024,30:;:;"});
        let pod = json!({"metadata": {"annotations": hami}, "spec": {}, "status": status});
        assert_eq!(devices_of(pod), [("hami", "GPU-1".to_owned()), ("hami", "GPU-2".to_owned())]);
        let labels = json!({"runai-gpu-group": "g1", "runai-gpu-group/g2": "g2", "runai-gpu-groups": "no"});
        let pod = json!({"metadata": {"labels": labels}, "spec": {}, "status": status});
        assert_eq!(devices_of(pod), [("reservation", "g1".to_owned()), ("reservation", "g2".to_owned())]);
        let empty = json!({"hami.io/vgpu-devices-allocated": ";;"});
        let pod = json!({"metadata": {"annotations": empty}, "spec": {}, "status": status});
        assert_eq!(devices_of(pod), [("kubelet", "GPU-9-0".to_owned())]);
    }

    #[test]
    fn long_annotations_give_few_and_short_devices() {
        let ids = (0..1000).map(|number| format!("GPU-{number},NVIDIA,1,1:")).collect::<String>();
        for text in [ids, format!("GPU-{}", "x".repeat(200_000)), "GPU-a\nb".to_owned()] {
            let annotations = json!({"hami.io/vgpu-devices-allocated": text});
            let found =
                devices_of(json!({"metadata": {"annotations": annotations}, "spec": {}, "status": {}}));
            assert!(
                found.len() <= 64 && found.iter().all(|(_, id)| id.len() <= 64 && !id.contains('\n')),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_claim_has_its_name_in_the_spec_or_in_the_status() {
        let spec = json!({"resourceClaims": [
            {"name": "a", "resourceClaimName": "named"}, {"name": "b", "resourceClaimTemplateName": "t"},
        ]});
        let status = json!({
            "resourceClaimStatuses": [{"name": "b", "resourceClaimName": "desktop-b-x1"}, {"name": "c"}],
            "extendedResourceClaimStatus": {"requestMappings": [], "resourceClaimName": "desktop-extended"},
        });
        let found = devices_of(json!({"metadata": {}, "spec": spec, "status": status}));
        let names = ["named", "desktop-b-x1", "desktop-extended"];
        assert_eq!(found, names.map(|name| ("claim", name.to_owned())));
    }
}
