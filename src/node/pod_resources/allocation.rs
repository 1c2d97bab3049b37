//! What the kubelet lists: the devices that it allocated to the pods of a node. Plain data.

use std::collections::BTreeSet;

/// Namespace and name of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::node) struct PodName {
    pub(in crate::node) namespace: String,
    pub(in crate::node) name: String,
}

/// The devices of one pod: of its containers and native sidecars. The kubelet gives no UID of the pod, and does not list other init
/// containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct PodAllocation {
    pub(in crate::node) name: PodName,
    /// IDs of the devices of device plugins.
    pub(in crate::node) devices: BTreeSet<String>,
    /// The devices of resource claims, also of the implicit claim of an extended resource (KEP-5004). Has all devices of a claim, even if
    /// the containers use only one request of the claim.
    pub(in crate::node) claimed: BTreeSet<ClaimDevice>,
}

/// One device of a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::node) struct ClaimDevice {
    pub(in crate::node) driver: String,
    /// Name of the device, unique within the driver and the node.
    pub(in crate::node) device: String,
    /// The claim's part of a device that several claims share (KEP-5075).
    pub(in crate::node) share_id: Option<String>,
    /// CDI IDs. If a claim has several devices of a driver, the kubelet (1.37) adds the IDs of the devices before this one.
    pub(in crate::node) cdi_ids: Vec<String>,
}
