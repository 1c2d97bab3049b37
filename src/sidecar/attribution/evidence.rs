//! The evidence that the strategies use.

use super::vocabulary::{NotApplicable, Sharing};
use crate::gpu::Device;

/// Evidence that is read at every poll.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// Devices that the driver shows in this container.
    pub visible: &'a [Device],
    /// Number of devices without a name: devices that the driver counts but cannot name, and devices that had processes of the
    /// session and are not visible now.
    pub unnamed: usize,
    /// Kind of the desktop's resource claims; `None` if this container does not have them. With a claim, the visible
    /// devices are the desktop's.
    pub claim: Option<ClaimKind>,
    /// UUIDs in the claims' metadata files (KEP-5304); empty if the DRA driver writes none.
    pub metadata: &'a [String],
    /// Value of the pod's annotation `vdi-metrics.io/gpu`.
    pub annotation: Option<&'a str>,
    /// Value of the pod's annotation `vdi-metrics.io/gpu-sharing`.
    pub sharing: Option<Sharing>,
    /// Whether all devices of the node are shown if no other strategy applies.
    pub node_totals: bool,
}

/// Evidence from the pod's processes. Process lists are the slowest driver calls, so this is collected only if no strategy
/// applies without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEvidence {
    /// Devices with processes of this pod.
    pub processes: Processes,
    /// `NVIDIA_VISIBLE_DEVICES` of the desktop's processes, or why it is unknown.
    pub environment: Result<EnvironmentDevices, NotApplicable>,
}

/// Kind of the desktop's resource claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// Created for this pod alone, from a template.
    Own,
    /// Created independently of the pod; other pods can name it too.
    Named,
}

/// Devices that have processes of this pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Processes {
    /// The pod's processes cannot be distinguished from other processes.
    Unknown(NotApplicable),
    /// Devices that have or had processes of this pod.
    Seen {
        /// Indices in [`Evidence::visible`], in the driver's order.
        indices: Vec<usize>,
        /// Whether a process of the pod is on a device at this poll. An idle session keeps its device, but then the
        /// attribution rests on an earlier poll.
        now: bool,
    },
}

/// Devices that the environment of the desktop's processes names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentDevices {
    /// List of devices, as in the variable.
    pub devices: String,
    /// Whether a process has the variable at this poll; `false` if only a process that has ended had it.
    pub now: bool,
}
