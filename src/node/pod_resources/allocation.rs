//! What the kubelet lists: the devices that it allocated to the containers of a node. Plain data.

use std::collections::{BTreeMap, BTreeSet};

/// Namespace and name of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::node) struct PodName {
    pub(in crate::node) namespace: String,
    pub(in crate::node) name: String,
}

/// The devices of one pod. The kubelet gives no UID of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct PodAllocation {
    pub(in crate::node) name: PodName,
    /// Containers and native sidecars. The kubelet does not list other init containers.
    pub(in crate::node) containers: Vec<ContainerAllocation>,
}

/// The devices of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct ContainerAllocation {
    pub(in crate::node) name: String,
    /// IDs of the devices of device plugins, by the name of the extended resource.
    pub(in crate::node) devices: BTreeMap<String, BTreeSet<String>>,
    /// The resource claims that the container uses, also the implicit claim of an extended resource (KEP-5004).
    pub(in crate::node) claims: Vec<ClaimAllocation>,
}

/// The devices of one resource claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct ClaimAllocation {
    pub(in crate::node) namespace: String,
    pub(in crate::node) name: String,
    /// All devices of the claim, even if the container uses only one request of the claim. Sorted, because the kubelet's order
    /// changes from call to call.
    pub(in crate::node) devices: Vec<ClaimDevice>,
}

/// One device of a claim. Driver, pool and device together identify the device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::node) struct ClaimDevice {
    pub(in crate::node) driver: String,
    pub(in crate::node) pool: String,
    pub(in crate::node) device: String,
    /// The claim's part of a device that several claims share (KEP-5075).
    pub(in crate::node) share_id: Option<String>,
    /// CDI IDs. If a claim has several devices of a driver, the kubelet (1.37) adds the IDs of the devices before this one.
    pub(in crate::node) cdi_ids: Vec<String>,
}
