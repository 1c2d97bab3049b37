//! The closed vocabularies of attribution: each variant is a label value.

use crate::{
    gpu::{Code, Fault},
    runtime::vocabulary::vocabulary,
};

vocabulary! {
    /// Strategies in order of confidence; values of the label `strategy`.
    pub enum Strategy {
        /// The node agent has written the session's devices into the pod's volume.
        NodeAgent = "node_agent",
        /// The sidecar shares the desktop's resource claim.
        Claim = "claim",
        /// The pod's annotation names the device.
        Annotation = "handed_over",
        /// Exactly one device is visible, and the pod requests a device.
        SingleDevice = "single_device",
        /// A process of the pod is or was on the device, by the driver's process lists.
        Processes = "processes",
        /// The desktop's environment names the device.
        Environment = "environment",
        /// All visible devices are exposed, although they may belong to other pods.
        Node = "node",
    }
}

vocabulary! {
    /// How reliable an attribution is; values of the label `confidence`. For each value, `docs/gpu.md` describes how the
    /// attribution can be wrong.
    pub enum Confidence {
        /// The evidence of this poll names exactly this device.
        Exact = "exact",
        /// The evidence of this poll shows that the session has a device, and this device is the only candidate.
        Good = "good",
        /// The evidence is from an earlier poll: the session is idle, its processes have ended, or a file cannot be read now.
        Remembered = "remembered",
        /// No evidence shows that the device is the session's.
        None = "none",
    }
}

vocabulary! {
    /// Why a strategy does not apply; values of the label `reason`.
    pub enum NotApplicable {
        /// The pod does not have the evidence that the strategy needs.
        NotGiven = "not_given",
        /// The node agent's file is from an earlier time: the agent has stopped.
        Stale = "stale",
        /// The annotation is empty or `pending`: the device is not assigned yet.
        Pending = "pending",
        /// The annotation is not a list of device IDs, or the node agent's file is not valid or has another version.
        NotUnderstood = "not_understood",
        /// The evidence cannot be read now, and no earlier poll has read it.
        Unreadable = "unreadable",
        /// The device that the evidence names is not visible here.
        NotVisible = "not_visible",
        /// Neither a request of the pod nor an annotation shows that the visible device is the session's.
        NotRequested = "not_requested",
        /// No device is visible that can be assigned to a container: no slice, and no card without MIG.
        NothingVisible = "nothing_visible",
        /// More than one device may be the session's: more than one is visible, the driver cannot give the UUID of a device, or a
        /// device that had processes of the session is not visible now.
        SeveralDevices = "several_devices",
        /// The pod's containers do not share their processes (`shareProcessNamespace`).
        NotShared = "not_shared",
        /// The pod sees all processes of the node (`hostPID`), so the sidecar cannot distinguish the pod's own processes.
        NodeProcesses = "node_processes",
        /// The driver is older than 570: in a container it gives wrong processes or wrong memory.
        DriverTooOld = "driver_too_old",
        /// The driver lists processes that are not in this pod.
        Implausible = "implausible",
        /// No process of the pod has used a device yet.
        NoProcess = "no_process",
        /// The sidecar may not read the desktop's environment, because the desktop runs as another user.
        NoPermission = "no_permission",
        /// The strategy is switched off.
        Off = "off",
    }
}

vocabulary! {
    /// Why no device of the session can be read, or why one of them cannot; values of the label `reason`.
    pub enum UnavailableReason {
        /// The first poll has not ended yet.
        Starting = "starting",
        /// The container has no `libnvidia-ml.so.1`.
        LibraryMissing = "library_missing",
        /// The library exists, but the kernel driver is not loaded.
        DriverNotLoaded = "driver_not_loaded",
        /// The driver or its library does not work.
        DriverError = "driver_error",
        /// The driver works, but shows no device.
        NoDevice = "no_device",
        /// Neither the pod's request nor an annotation shows that the pod has a GPU. The request may be unknown to the sidecar.
        NotRequested = "not_requested",
        /// The node agent has stopped or hangs, and without it the sidecar cannot see the session's devices.
        NodeAgentLost = "node_agent_lost",
        /// The node agent sees that the pod has no device.
        NotAllocated = "not_allocated",
        /// Evidence cannot be read, and no earlier poll has read it.
        Unreadable = "unreadable",
        /// MIG is enabled on every visible card, and no slice is visible.
        InSlices = "in_slices",
        /// More than one device is visible, and no evidence identifies the session's device.
        SeveralDevices = "several_devices",
        /// The device that the claim, the annotation or an earlier poll names is not visible.
        NotVisible = "not_visible",
        /// The card has fallen off the bus.
        GpuLost = "gpu_lost",
        /// The session has more devices than the sidecar can count. The devices up to the limit are counted.
        TooMany = "too_many",
    }
}

vocabulary! {
    /// The evidence that can be unreadable; values of the label `evidence`.
    pub enum EvidenceSource {
        /// The file with the pod's annotations.
        Annotations = "annotations",
        /// The node agent's file.
        NodeAgent = "node_agent",
        /// The metadata files of the claims.
        ClaimMetadata = "claim_metadata",
        /// The pod's processes and their environments.
        Processes = "processes",
    }
}

// === impl UnavailableReason ===

impl From<Fault> for UnavailableReason {
    fn from(fault: Fault) -> Self {
        match fault.code {
            Code::LibraryMissing => Self::LibraryMissing,
            Code::DriverNotLoaded => Self::DriverNotLoaded,
            Code::GpuLost => Self::GpuLost,
            Code::AnotherDevice => Self::NotVisible,
            _ => Self::DriverError,
        }
    }
}
