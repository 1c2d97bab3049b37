//! Plain values that are read from the driver.

use crate::runtime::vocabulary::vocabulary;

/// A device that this process can see: an entire card or a MIG slice of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// `GPU-` or `MIG-` and 36 characters (`nvmlDeviceGetUUID`).
    pub uuid: String,
    /// Index of the card in the driver's order.
    pub index: u32,
    /// Number of the card's device file, `/dev/nvidia<n>` (`nvmlDeviceGetMinorNumber`).
    pub minor: Option<u32>,
    /// Marketing name; the name of a slice includes its profile (`nvmlDeviceGetName`).
    pub model: Option<String>,
    /// Origin of a slice; none for a card.
    pub slice: Option<Slice>,
    /// Whether MIG is enabled on the card; other pods may use its slices (`nvmlDeviceGetMigMode`).
    pub mig_enabled: bool,
    /// Whether only one process at a time may use the card. The device plugin sets a card up for MPS this way
    /// (`nvmlDeviceGetComputeMode`).
    pub exclusive_process: bool,
}

/// Origin of a MIG slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// UUID of the card.
    pub card: String,
    /// GPU instance on the card (`nvmlDeviceGetGpuInstanceId`).
    pub gpu_instance: Option<u32>,
    /// Compute instance on the GPU instance (`nvmlDeviceGetComputeInstanceId`).
    pub compute_instance: Option<u32>,
}

/// Values of one device from one poll. A value that the driver does not support or failed to return is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The driver's own samples since the last poll, in any order (`nvmlDeviceGetSamples`); empty if it keeps none.
    pub samples: Vec<Sample>,
    /// Part of the driver's last window (1/6 to 1 s) in which a kernel ran: 0 to 1 (`nvmlDeviceGetUtilizationRates`).
    pub utilization: Option<f64>,
    /// Frame buffer in bytes (`nvmlDeviceGetMemoryInfo_v2`).
    pub memory: Option<Memory>,
    /// Millijoules of the card since the driver was loaded (`nvmlDeviceGetTotalEnergyConsumption`).
    pub energy: Option<u64>,
    /// Milliwatts of the card (`nvmlDeviceGetPowerUsage`).
    pub power: Option<u32>,
    /// Degrees Celsius of the card (`nvmlDeviceGetTemperature`).
    pub temperature: Option<u32>,
    /// Megahertz of the multiprocessors (`nvmlDeviceGetClockInfo`).
    pub sm_clock: Option<u32>,
    /// Megahertz of the frame buffer (`nvmlDeviceGetClockInfo`).
    pub memory_clock: Option<u32>,
    /// Why the clocks are lower than possible (`nvmlDeviceGetCurrentClocksThrottleReasons`).
    pub throttled: Option<Throttled>,
    /// Part of the encoder's last window in which it was busy (`nvmlDeviceGetEncoderUtilization`).
    pub encoder: Option<f64>,
    /// Part of the decoder's last window in which it was busy (`nvmlDeviceGetDecoderUtilization`).
    pub decoder: Option<f64>,
    /// Encoder sessions (`nvmlDeviceGetEncoderStats`).
    pub encoding: Option<StreamStats>,
    /// Encoder sessions by codec; empty if there are none (`nvmlDeviceGetEncoderSessions`).
    pub codecs: Vec<(Codec, u32)>,
    /// Frame-buffer captures (`nvmlDeviceGetFBCStats`).
    pub capturing: Option<StreamStats>,
}

/// Utilisation sample of the driver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Microseconds of the node's wall clock.
    pub at: u64,
    /// 0 to 1. The driver's value is not clamped here and can be higher.
    pub ratio: f64,
}

/// Frame buffer of one device in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Used by processes, without the driver's own reserve.
    pub used: u64,
    /// Total size, the driver's reserve included.
    pub total: u64,
}

/// Encoder sessions or frame-buffer captures of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Number of sessions.
    pub sessions: u32,
    /// Frames a second, the mean of all sessions.
    pub frames: u32,
    /// Microseconds for a frame, the mean of all sessions.
    pub latency: u32,
}

vocabulary! {
    /// Codec of an encoder session (`nvmlEncoderType_t`), and the value of the label `codec`.
    #[expect(missing_docs, reason = "each is a codec's name")]
    pub enum Codec {
        H264 = "h264",
        Hevc = "hevc",
        Av1 = "av1",
        Other = "other",
    }
}

/// The reasons for lower clocks on which an operator can act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled {
    /// The board has reached its power limit.
    pub power_cap: bool,
    /// The chip or the memory is too hot.
    pub thermal: bool,
    /// The power supply requests lower power.
    pub power_brake: bool,
}

/// A process that has a context on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Number in the PID namespace of this process, from driver 570 on.
    pub pid: u32,
    /// Kind of its context.
    pub kind: ProcessKind,
    /// Bytes of the frame buffer that it uses.
    pub memory: Option<u64>,
}

vocabulary! {
    /// Kind of a process' context, and the value of the label `kind`.
    #[expect(missing_docs, reason = "NVML's own names")]
    pub enum ProcessKind {
        Compute = "compute",
        Graphics = "graphics",
    }
}

/// Utilisation of a device by one process: the newest sample, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessUtilization {
    /// Number as in [`Process`]; for a process of another PID namespace, its number on the host.
    pub pid: u32,
    /// Microseconds of the node's wall clock.
    pub at: u64,
    /// Part of the multiprocessors' time.
    pub sm: f64,
    /// Part of the encoder's time.
    pub encoder: f64,
    /// Part of the decoder's time.
    pub decoder: f64,
}

/// A fault of a card that the driver reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XidEvent {
    /// UUIDs of the card and of its visible slices.
    pub devices: Vec<String>,
    /// NVIDIA's number of the fault, if the driver gives one.
    pub code: Option<u64>,
}

/// Versions that the library returned when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Kernel driver (`nvmlSystemGetDriverVersion`).
    pub driver: Option<String>,
    /// The library itself (`nvmlSystemGetNVMLVersion`).
    pub nvml: Option<String>,
}

// === impl Device ===

impl Device {
    /// UUID of the card: of the device itself, or of the card that the slice belongs to.
    #[must_use]
    pub fn card(&self) -> &str {
        self.slice.as_ref().map_or(&self.uuid, |slice| &slice.card)
    }
}
