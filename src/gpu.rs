//! The GPU as the driver's library shows it: plain values and the vocabulary of what can go wrong. Only `gpu/nvml.rs` and
//! `gpu/raw.rs` name nvml_wrapper; no other file may, and of this room `raw` alone is allowed to be unsafe.

mod backoff;
pub mod id;
mod nvml;
mod raw;
mod support;

use std::fmt;

pub use nvml::{Driver, Library, LibraryState, Opened};

/// A device that this process can see: a whole card or a slice of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// `GPU-` or `MIG-` and 36 characters (`nvmlDeviceGetUUID`).
    pub uuid: String,
    /// Place of the card in the driver's order.
    pub index: u32,
    /// Number of the card's device file, `/dev/nvidia<n>` (`nvmlDeviceGetMinorNumber`).
    pub minor: Option<u32>,
    /// Marketing name, a slice's with its profile (`nvmlDeviceGetName`).
    pub model: Option<String>,
    /// Of a slice: the card that it is cut from, and its number there.
    pub slice: Option<Slice>,
    /// Whether it is cut into MIG slices, of which others may hold some (`nvmlDeviceGetMigMode`).
    pub mig_enabled: bool,
    /// Whether one process at a time may have it, which is how the device plugin sets up a card for MPS
    /// (`nvmlDeviceGetComputeMode`).
    pub exclusive_process: bool,
}

/// Where a MIG slice comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// UUID of the card.
    pub card: String,
    /// GPU instance on the card (`nvmlDeviceGetGpuInstanceId`).
    pub gpu_instance: Option<u32>,
    /// Compute instance on the GPU instance (`nvmlDeviceGetComputeInstanceId`).
    pub compute_instance: Option<u32>,
}

/// One device, read once. What the driver does not support or failed to give is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The driver's own samples since the last read, in any order (`nvmlDeviceGetSamples`); none where it keeps none.
    pub samples: Vec<Sample>,
    /// Part of the driver's last window, 1/6 to 1 s, in which a kernel ran: 0 to 1 (`nvmlDeviceGetUtilizationRates`).
    pub utilization: Option<f64>,
    /// Frame buffer in bytes (`nvmlDeviceGetMemoryInfo_v2`).
    pub memory: Option<Memory>,
    /// Millijoules since the driver was loaded; a slice's is its card's (`nvmlDeviceGetTotalEnergyConsumption`).
    pub energy: Option<u64>,
    /// Milliwatts of the card (`nvmlDeviceGetPowerUsage`).
    pub power: Option<u32>,
    /// Degrees Celsius of the card (`nvmlDeviceGetTemperature`).
    pub temperature: Option<u32>,
    /// Megahertz of the multiprocessors (`nvmlDeviceGetClockInfo`).
    pub sm_clock: Option<u32>,
    /// Megahertz of the frame buffer (`nvmlDeviceGetClockInfo`).
    pub memory_clock: Option<u32>,
    /// Why the clocks are lower than they could be (`nvmlDeviceGetCurrentClocksThrottleReasons`).
    pub throttled: Option<Throttled>,
    /// Part of the encoder's last window in which it worked (`nvmlDeviceGetEncoderUtilization`).
    pub encoder: Option<f64>,
    /// Part of the decoder's last window in which it worked (`nvmlDeviceGetDecoderUtilization`).
    pub decoder: Option<f64>,
    /// Encoder sessions (`nvmlDeviceGetEncoderStats`).
    pub encoding: Option<StreamStats>,
    /// Encoder sessions by codec, where there are any (`nvmlDeviceGetEncoderSessions`).
    pub codecs: Vec<(Codec, u32)>,
    /// Frame-buffer captures (`nvmlDeviceGetFBCStats`).
    pub capturing: Option<StreamStats>,
}

/// A sample of the driver's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Microseconds of the node's wall clock.
    pub at: u64,
    /// 0 to 1; as the driver gave it, which can be more.
    pub ratio: f64,
}

/// Frame buffer of one device in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Held by processes, without what the driver reserves for itself.
    pub used: u64,
    /// All of it, the driver's reserve included.
    pub total: u64,
}

/// Encoder or capture sessions of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// How many there are.
    pub sessions: u32,
    /// Frames a second, the mean of all sessions.
    pub frames: u32,
    /// Microseconds for a frame, the mean of all sessions.
    pub latency: u32,
}

/// What an encoder session makes (`nvmlEncoderType_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is a codec's name")]
pub enum Codec {
    H264,
    Hevc,
    Av1,
    Other,
}

/// The reasons for lower clocks that somebody can do something about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled {
    /// The board takes as much power as it may.
    pub power_cap: bool,
    /// The chip or the memory is too hot.
    pub thermal: bool,
    /// The power supply asks for less.
    pub power_brake: bool,
}

/// A process that has a context on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// In our own PID namespace, from driver 570 on.
    pub pid: u32,
    /// What its context is for.
    pub kind: ProcessKind,
    /// Bytes of the frame buffer that it holds.
    pub memory: Option<u64>,
}

/// What a process' context is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "NVML's own words")]
pub enum ProcessKind {
    Compute,
    Graphics,
}

/// What one process has of a device: newest sample, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessUtilization {
    /// As in [`Process`]; a process of another PID namespace with its host's number.
    pub pid: u32,
    /// Microseconds of the node's wall clock.
    pub at: u64,
    /// Of the multiprocessors' time.
    pub sm: f64,
    /// Of the encoder's time.
    pub encoder: f64,
    /// Of the decoder's time.
    pub decoder: f64,
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
    MigMode,
    Slices,
    GpuInstance,
    ComputeInstance,
    ComputeMode,
    MinorNumber,
    Samples,
    Utilization,
    Memory,
    Energy,
    Power,
    Temperature,
    SmClock,
    MemoryClock,
    Throttled,
    Encoder,
    Decoder,
    EncoderStats,
    EncoderSessions,
    FbcStats,
    ComputeProcesses,
    GraphicsProcesses,
    ProcessUtilization,
    Events,
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

// === impl Device ===

impl Device {
    /// UUID of the card that it is or is cut from.
    #[must_use]
    pub fn card(&self) -> &str {
        self.slice.as_ref().map_or(&self.uuid, |slice| &slice.card)
    }
}

// === impl Fault ===

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call.as_str(), self.code.as_str())
    }
}

impl Fault {
    /// Whether the library is to be closed and opened again at once: it does not speak to a driver any more.
    fn is_of_driver(self) -> bool {
        use {
            Call::{DeviceCount, Init},
            Code::{DriverNotLoaded, Uninitialized, VersionMismatch},
        };

        matches!(self.call, Init | DeviceCount)
            || matches!(self.code, DriverNotLoaded | Uninitialized | VersionMismatch)
    }

    /// Whether the device has nothing more to say. A value that fails alone is only left out.
    fn is_of_device(self) -> bool {
        matches!(self.code, Code::GpuLost | Code::ResetRequired) || self.call == Call::DeviceHandle
    }

    /// Whether this is how it is on this device or under this driver, and will be when asked again.
    #[must_use]
    pub fn is_for_good(self) -> bool {
        matches!(self.code, Code::NotSupported | Code::SymbolMissing)
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
            Self::MigMode => "mig_mode",
            Self::Slices => "slices",
            Self::GpuInstance => "gpu_instance",
            Self::ComputeInstance => "compute_instance",
            Self::ComputeMode => "compute_mode",
            Self::MinorNumber => "minor_number",
            Self::Samples => "samples",
            Self::Utilization => "utilization",
            Self::Memory => "memory",
            Self::Energy => "energy",
            Self::Power => "power",
            Self::Temperature => "temperature",
            Self::SmClock => "sm_clock",
            Self::MemoryClock => "memory_clock",
            Self::Throttled => "throttled",
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
            Self::EncoderStats => "encoder_stats",
            Self::EncoderSessions => "encoder_sessions",
            Self::FbcStats => "fbc_stats",
            Self::ComputeProcesses => "compute_processes",
            Self::GraphicsProcesses => "graphics_processes",
            Self::ProcessUtilization => "process_utilization",
            Self::Events => "events",
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

// === impl Codec, ProcessKind ===

impl Codec {
    /// Value of the label `codec`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Av1 => "av1",
            Self::Other => "other",
        }
    }
}

impl ProcessKind {
    /// Value of the label `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Graphics => "graphics",
        }
    }
}
