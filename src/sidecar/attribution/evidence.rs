//! The evidence that the strategies use.

use super::vocabulary::NotApplicable;
use crate::{
    contract::GpuRequest,
    gpu::{Device, id::Id},
    sampling::sharing::Sharing,
};

/// Evidence that is read at every poll.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// Devices that the driver shows in this container, in the driver's order.
    pub visible: &'a [Device],
    /// Number of devices that may be the session's and cannot be identified: devices whose UUID the driver cannot give, and
    /// devices that had processes of the session and are not visible now.
    pub unidentified: usize,
    /// The GPU request of the pod; none if it is unknown to the sidecar.
    pub request: Option<GpuRequest>,
    /// Kind of the desktop's resource claims; none if the sidecar does not share them. With a claim, all visible devices belong
    /// to the desktop.
    pub claim: Option<ClaimKind>,
    /// UUIDs of GPUs in the claims' metadata files (KEP-5304); empty if the DRA driver writes none.
    pub metadata: &'a [Id],
    /// Whether the metadata is from an earlier poll, because this poll could not read it.
    pub is_metadata_stale: bool,
    /// Value of the pod's annotation `vdi-metrics.io/gpu`; none if the pod does not have it.
    pub annotation: Option<&'a str>,
    /// Value of the pod's annotation `vdi-metrics.io/gpu-sharing`; none if the pod does not have it.
    pub sharing: Option<Sharing>,
    /// Whether the annotations are from an earlier poll, because this poll could not read them.
    pub are_annotations_stale: bool,
    /// Whether the sidecar exposes all devices of the node if no other strategy applies.
    pub node_totals: bool,
}

/// Evidence from the pod's processes. It is collected only if no strategy applies without it, because process lists are the
/// slowest driver calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEvidence {
    /// Devices with processes of this pod.
    pub processes: Processes,
    /// Value of `NVIDIA_VISIBLE_DEVICES` in the desktop's processes, or why the sidecar does not have it.
    pub environment: Result<EnvironmentDevices, NotApplicable>,
}

/// The pod's annotations about its devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Value of the annotation `vdi-metrics.io/gpu`; none if the pod does not have it.
    pub gpu: Option<String>,
    /// Value of the annotation `vdi-metrics.io/gpu-sharing`; none if the pod does not have it. `Unknown` if it is not valid.
    pub sharing: Option<Sharing>,
}

/// Kind of the desktop's resource claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// The claim was created from a template, only for this pod.
    Own,
    /// The claim was created independently of the pod; other pods can use it too.
    Named,
}

/// Devices that have processes of this pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Processes {
    /// The processes of the pod are unknown, for this reason.
    Unknown(NotApplicable),
    /// Devices that have or had processes of this pod.
    Seen {
        /// Indices in [`Evidence::visible`], in the driver's order.
        indices: Vec<usize>,
        /// Whether a process of the pod is on a device at this poll. If not, the evidence is from an earlier poll: an idle
        /// session keeps its device.
        now: bool,
    },
}

/// Devices that the environments of the pod's processes name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentDevices {
    /// IDs of the devices in the variables.
    pub ids: Vec<Id>,
    /// Whether a process names a device at this poll. If not, the evidence is from an earlier poll.
    pub now: bool,
}

// === impl Annotations ===

impl Annotations {
    /// Whether the pod has one of the annotations. With an annotation the pod may have a device, even if it requests none.
    #[must_use]
    pub fn are_given(&self) -> bool {
        self.gpu.is_some() || self.sharing.is_some()
    }
}
