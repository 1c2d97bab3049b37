//! The GPU as the driver's library shows it: plain values and the vocabulary of what can go wrong. Only `gpu/nvml.rs`
//! names nvml_wrapper; no other file may.

mod backoff;
mod nvml;

use std::fmt;

pub use nvml::{Driver, Library};

/// A device that this process can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible {
    /// `GPU-` and 36 characters (`nvmlDeviceGetUUID`).
    pub uuid: String,
    /// Whether it is cut into MIG slices, of which others may hold some (`nvmlDeviceGetMigMode`).
    pub in_slices: bool,
}

/// One device, read once. What the driver does not support or failed to give is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Marketing name (`nvmlDeviceGetName`).
    pub model: Option<String>,
    /// Part of the driver's last window, 1/6 to 1 s, in which a kernel ran: 0 to 1 (`nvmlDeviceGetUtilizationRates`).
    pub utilization: Option<f64>,
    /// Frame buffer in bytes (`nvmlDeviceGetMemoryInfo_v2`).
    pub memory: Option<Memory>,
}

/// Frame buffer of one device in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Held by processes, without what the driver reserves for itself.
    pub used: u64,
    /// All of it, the driver's reserve included.
    pub total: u64,
}

/// Versions that the library gave when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Kernel driver (`nvmlSystemGetDriverVersion`).
    pub driver: Option<String>,
    /// The library itself (`nvmlSystemGetNVMLVersion`).
    pub nvml: Option<String>,
}

/// A call that failed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was asked.
    pub call: Call,
    /// What came back.
    pub code: Code,
}

/// The questions we ask the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is one NVML call, named after what it asks for")]
pub enum Call {
    Init,
    DriverVersion,
    NvmlVersion,
    DeviceCount,
    DeviceHandle,
    Uuid,
    Name,
    Utilization,
    Memory,
}

/// How a call fails: NVML's return codes that a reader can act on, and two failures that come before any code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The library is not there or cannot be loaded.
    LibraryMissing,
    /// The library is older than the call.
    SymbolMissing,
    /// `NVML_ERROR_UNINITIALIZED`.
    Uninitialized,
    /// `NVML_ERROR_INVALID_ARGUMENT`.
    InvalidArgument,
    /// `NVML_ERROR_NOT_SUPPORTED`: this device or mode has no such value, and will not have one later.
    NotSupported,
    /// `NVML_ERROR_NO_PERMISSION`.
    NoPermission,
    /// `NVML_ERROR_NOT_FOUND`.
    NotFound,
    /// `NVML_ERROR_DRIVER_NOT_LOADED`.
    DriverNotLoaded,
    /// `NVML_ERROR_TIMEOUT`.
    Timeout,
    /// `NVML_ERROR_GPU_IS_LOST`: fell off the bus.
    GpuLost,
    /// `NVML_ERROR_RESET_REQUIRED`.
    ResetRequired,
    /// `NVML_ERROR_LIB_RM_VERSION_MISMATCH`: the driver was updated under a running system.
    VersionMismatch,
    /// `NVML_ERROR_UNKNOWN`.
    Unknown,
    /// Any other code, or an answer that is not what the interface promises.
    Other,
}

// === impl Fault ===

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call.as_str(), self.code.as_str())
    }
}

impl Fault {
    /// Whether the library is to be closed and opened again. A value that fails alone is only left out.
    fn is_fatal(self) -> bool {
        use {Call::*, Code::*};

        matches!(self.call, Init | DeviceCount | DeviceHandle | Uuid)
            || matches!(
                self.code,
                DriverNotLoaded | GpuLost | ResetRequired | Uninitialized | VersionMismatch
            )
    }
}

// === impl Call ===

impl Call {
    /// Value of the label `call`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::DriverVersion => "driver_version",
            Self::NvmlVersion => "nvml_version",
            Self::DeviceCount => "device_count",
            Self::DeviceHandle => "device_handle",
            Self::Uuid => "uuid",
            Self::Name => "name",
            Self::Utilization => "utilization",
            Self::Memory => "memory",
        }
    }
}

// === impl Code ===

impl Code {
    /// Value of the label `code`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LibraryMissing => "library_missing",
            Self::SymbolMissing => "symbol_missing",
            Self::Uninitialized => "uninitialized",
            Self::InvalidArgument => "invalid_argument",
            Self::NotSupported => "not_supported",
            Self::NoPermission => "no_permission",
            Self::NotFound => "not_found",
            Self::DriverNotLoaded => "driver_not_loaded",
            Self::Timeout => "timeout",
            Self::GpuLost => "gpu_lost",
            Self::ResetRequired => "reset_required",
            Self::VersionMismatch => "version_mismatch",
            Self::Unknown => "unknown",
            Self::Other => "other",
        }
    }
}
