//! Objects that name devices, reduced to the fields that this module needs.

use kube::core::{ApiResource, GroupVersionKind, Object};
use serde::Deserialize;

/// A resource claim.
pub(super) type DeviceClaim = Object<Unused, ClaimStatus>;

/// A resource slice: the devices of a driver, most often on one node.
pub(super) type DeviceSlice = Object<SliceSpec, Unused>;

/// A pod that can be a reservation pod of KAI.
pub(super) type ReservationPod = Object<Unused, Unused>;

/// Fields that are not decoded.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Unused {}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClaimStatus {
    pub(super) allocation: Option<AllocationResult>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AllocationResult {
    pub(super) devices: DeviceResults,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeviceResults {
    pub(super) results: Vec<DeviceResult>,
}

/// A device that is allocated to a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct DeviceResult {
    pub(super) driver: String,
    pub(super) pool: String,
    pub(super) device: String,
    /// ID of the share, if several claims can have the same device (consumable capacity, KEP-5075).
    #[serde(rename = "shareID")]
    pub(super) share_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SliceSpec {
    pub(super) driver: String,
    pub(super) pool: SlicePool,
    pub(super) devices: Vec<SliceDevice>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SlicePool {
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SliceDevice {
    pub(super) name: String,
    pub(super) attributes: SliceAttributes,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SliceAttributes {
    /// NVIDIA's driver publishes this attribute without a domain.
    pub(super) uuid: Option<TextAttribute>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TextAttribute {
    pub(super) string: Option<String>,
}

/// Versions of the API of dynamic resource allocation that have these fields, the newest first. `v1` exists since Kubernetes 1.34.
pub(super) const VERSIONS: [&str; 2] = ["v1", "v1beta2"];

/// A kind of the API group `resource.k8s.io`.
pub(super) fn resource(version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("resource.k8s.io", version, kind), plural)
}
