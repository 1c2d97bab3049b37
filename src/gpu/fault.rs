//! The closed vocabulary of failed calls: which call failed, and how.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::runtime::vocabulary::vocabulary;

/// A failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Fault {
    /// The call that failed.
    pub call: Call,
    /// The kind of failure.
    pub code: Code,
}

vocabulary! {
    /// The calls of the library; values of the label `call`.
    #[expect(missing_docs, reason = "each is one NVML call, named after the value that it returns")]
    pub enum Call {
        Init = "init",
        DriverVersion = "driver_version",
        NvmlVersion = "nvml_version",
        DeviceCount = "device_count",
        DeviceHandle = "device_handle",
        Uuid = "uuid",
        Name = "name",
        MigMode = "mig_mode",
        Slices = "slices",
        GpuInstance = "gpu_instance",
        ComputeInstance = "compute_instance",
        ComputeMode = "compute_mode",
        MinorNumber = "minor_number",
        Samples = "samples",
        Utilization = "utilization",
        Memory = "memory",
        Energy = "energy",
        Power = "power",
        Temperature = "temperature",
        SmClock = "sm_clock",
        MemoryClock = "memory_clock",
        Throttled = "throttled",
        Encoder = "encoder",
        Decoder = "decoder",
        EncoderStats = "encoder_stats",
        EncoderSessions = "encoder_sessions",
        FbcStats = "fbc_stats",
        FbcSessions = "fbc_sessions",
        ComputeProcesses = "compute_processes",
        GraphicsProcesses = "graphics_processes",
        MpsProcesses = "mps_processes",
        ProcessUtilization = "process_utilization",
        Events = "events",
    }
}

vocabulary! {
    /// The kinds of failure; values of the label `code`. They are the NVML return codes that an operator can act on, and two
    /// failures that happen before NVML returns a code.
    pub enum Code {
        /// The library does not exist or cannot be loaded.
        LibraryMissing = "library_missing",
        /// The library is too old: it does not have the call.
        SymbolMissing = "symbol_missing",
        /// `NVML_ERROR_UNINITIALIZED`.
        Uninitialized = "uninitialized",
        /// `NVML_ERROR_INVALID_ARGUMENT`.
        InvalidArgument = "invalid_argument",
        /// `NVML_ERROR_NOT_SUPPORTED`: this device or mode does not have the value and never will.
        NotSupported = "not_supported",
        /// `NVML_ERROR_NO_PERMISSION`.
        NoPermission = "no_permission",
        /// `NVML_ERROR_NOT_FOUND`.
        NotFound = "not_found",
        /// `NVML_ERROR_DRIVER_NOT_LOADED`.
        DriverNotLoaded = "driver_not_loaded",
        /// `NVML_ERROR_TIMEOUT`.
        Timeout = "timeout",
        /// `NVML_ERROR_GPU_IS_LOST`: the card has fallen off the bus.
        GpuLost = "gpu_lost",
        /// `NVML_ERROR_RESET_REQUIRED`.
        ResetRequired = "reset_required",
        /// `NVML_ERROR_LIB_RM_VERSION_MISMATCH`: the driver was updated while the node was running.
        VersionMismatch = "version_mismatch",
        /// `NVML_ERROR_ARGUMENT_VERSION_MISMATCH`: the driver does not know this version of the call's structure.
        ArgumentVersion = "argument_version",
        /// `NVML_ERROR_DEPRECATED`: the driver does not have the call any more.
        Deprecated = "deprecated",
        /// `NVML_ERROR_UNKNOWN`.
        Unknown = "unknown",
        /// The call succeeded and returned NVML's placeholder for a value that the device does not have.
        NotAvailable = "not_available",
        /// The handle now belongs to another device: the earlier device does not exist any more, and the driver has reused its
        /// handle.
        AnotherDevice = "another_device",
        /// Any other code, or an answer that NVML's documentation does not allow.
        Other = "other",
    }
}

vocabulary! {
    /// Reasons to reopen a library that still works. A reopened library may show more devices.
    pub enum ReopenReason {
        /// A device is lost and may come back.
        DeviceLost = "device_lost",
        /// A device could not be read.
        NoValues = "no_values",
        /// The driver cannot give the UUID of a device.
        NoUuid = "no_uuid",
        /// A device that the caller expects is not visible.
        NotVisible = "not_visible",
    }
}

// === impl Fault ===

impl Fault {
    /// Whether the library has lost the driver. The library must then be reopened at once.
    pub(super) fn is_driver_lost(self) -> bool {
        use {
            Call::{DeviceCount, Init},
            Code::{DriverNotLoaded, Uninitialized, VersionMismatch},
        };

        matches!(self.call, Init | DeviceCount)
            || matches!(self.code, DriverNotLoaded | Uninitialized | VersionMismatch)
    }

    /// Whether the device is lost. A card without a handle counts as lost, because no value of it can be read. A card that this
    /// container may not use is not lost.
    pub(super) fn is_device_lost(self) -> bool {
        let is_lost = matches!(self.code, Code::GpuLost | Code::ResetRequired | Code::AnotherDevice);
        is_lost || self.call == Call::DeviceHandle && !self.is_forbidden()
    }

    /// Whether this container may not use the device.
    pub(super) fn is_forbidden(self) -> bool {
        self.code == Code::NoPermission
    }

    /// Whether this call will fail on this device until the library is reopened, because the device does not have the value or
    /// because the driver refuses it.
    pub(super) fn is_permanent(self) -> bool {
        matches!(self.code, Code::NotSupported | Code::SymbolMissing) || self.is_refusal()
    }

    /// Whether the driver refuses the call, whatever the state of the device is.
    pub(super) fn is_refusal(self) -> bool {
        matches!(self.code, Code::NoPermission | Code::ArgumentVersion | Code::Deprecated)
    }

    /// Whether this device has no such value for the caller. If not, the call has failed and may succeed later.
    #[must_use]
    pub fn is_absence(self) -> bool {
        self.is_permanent() || self.code == Code::NotAvailable
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call.as_str(), self.code.as_str())
    }
}
