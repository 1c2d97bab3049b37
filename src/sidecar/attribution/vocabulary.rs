//! The closed vocabularies of attribution: every one of these words can be the value of a label.

use crate::{
    gpu::{Code, Fault},
    runtime::vocabulary::vocabulary,
};

vocabulary! {
    /// The rungs of the ladder, and the value of the label `strategy`.
    pub enum Strategy {
        /// The desktop's resource claim, which our container shares.
        Claim = "claim",
        /// The pod's annotation, written by somebody who knows.
        Annotation = "handed_over",
        /// Exactly one device is visible.
        SingleDevice = "single_device",
        /// The pod's own processes are on it.
        Processes = "processes",
        /// The desktop's own environment names it.
        Environment = "environment",
        /// Everything that is visible, whoever has it.
        Node = "node",
    }
}

vocabulary! {
    /// Whose use a value measures, and the value of the label `scope`; narrowest first.
    pub enum Scope {
        /// This session's alone: may be summed over sessions.
        Session = "session",
        /// A device that is ours in part: never to be summed over sessions.
        Device = "device",
        /// A device that may be anybody's.
        Node = "node",
    }
}

vocabulary! {
    /// How far an attribution can be trusted, and the value of the label `confidence`.
    pub enum Confidence {
        /// It cannot be another.
        Exact = "exact",
        /// Right unless the node shares its cards, which a container cannot see.
        Good = "good",
        /// It was known; nothing says so now, because the session is idle or its processes have ended.
        Remembered = "remembered",
        /// Nothing says that it is ours.
        None = "none",
    }
}

vocabulary! {
    /// With whom a device is shared, and the value of the label `sharing`.
    pub enum Sharing {
        /// With nobody.
        Exclusive = "exclusive",
        /// With nobody: a slice of a card.
        Mig = "mig",
        /// With others, one at a time.
        TimeSlicing = "time-slicing",
        /// With others, at the same time.
        Mps = "mps",
        /// Nobody can say.
        Unknown = "unknown",
    }
}

vocabulary! {
    /// Why a rung does not hold, and the value of the label `reason`.
    pub enum NotApplicable {
        /// Nobody has given us that.
        NotGiven = "not_given",
        /// It has been announced and not yet given.
        Pending = "pending",
        /// It names no device in any form that we know.
        NotUnderstood = "not_understood",
        /// The device that it names is not visible here.
        NotVisible = "not_visible",
        /// No whole device is visible.
        NothingVisible = "nothing_visible",
        /// More than one device is visible.
        SeveralDevices = "several_devices",
        /// It was not tried.
        Unasked = "unasked",
        /// The pod's containers do not share their processes (`shareProcessNamespace`).
        NotShared = "not_shared",
        /// The pod sees the whole node's processes (`hostPID`), and nobody can tell which are its own.
        NodeProcesses = "node_processes",
        /// Before 570 the driver gives wrong processes or wrong memory in a container.
        DriverTooOld = "driver_too_old",
        /// The driver names processes that are not in this pod.
        Implausible = "implausible",
        /// No process of the pod has been on a device yet.
        NoProcess = "no_process",
        /// The desktop's environment may not be read: it runs as another user.
        NoPermission = "no_permission",
        /// It is switched off.
        Off = "off",
    }
}

vocabulary! {
    /// Why no device is this session's, and the value of the label `reason`.
    pub enum UnavailableReason {
        /// The first read has not ended yet.
        Starting = "starting",
        /// No `libnvidia-ml.so.1` in this container.
        LibraryMissing = "library_missing",
        /// The library is there and the kernel driver is not.
        DriverNotLoaded = "driver_not_loaded",
        /// The driver or its library does not work.
        DriverError = "driver_error",
        /// The driver works and shows no device.
        NoDevice = "no_device",
        /// What is visible is cut into MIG slices, of which none is visible.
        InSlices = "in_slices",
        /// More than one device is visible, and nothing says which is ours.
        SeveralDevices = "several_devices",
        /// The device that somebody knows to be ours is not among the visible ones.
        NotVisible = "not_visible",
        /// The device fell off the bus.
        GpuLost = "gpu_lost",
    }
}

// === impl UnavailableReason ===

impl From<Fault> for UnavailableReason {
    fn from(fault: Fault) -> Self {
        match fault.code {
            Code::LibraryMissing => Self::LibraryMissing,
            Code::DriverNotLoaded => Self::DriverNotLoaded,
            Code::GpuLost => Self::GpuLost,
            _ => Self::DriverError,
        }
    }
}
