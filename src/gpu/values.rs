//! Plain values that are read from the driver.

use serde::{Deserialize, Deserializer, Serialize};

use crate::runtime::vocabulary::vocabulary;

/// A device that this process can see: an entire card or a MIG slice of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Device {
    /// `GPU-` or `MIG-` and 36 characters (`nvmlDeviceGetUUID`).
    pub uuid: String,
    /// Index of the card in the driver's order; a slice has the index of its card.
    pub index: u32,
    /// Number of the card's device file, `/dev/nvidia<n>`; none if the driver does not give it (`nvmlDeviceGetMinorNumber`).
    pub minor: Option<u32>,
    /// Marketing name; none if the driver does not give it. The name of a slice includes its profile (`nvmlDeviceGetName`).
    pub model: Option<String>,
    /// Card and instances of a slice; none for a card.
    pub slice: Option<Slice>,
    /// Whether MIG is enabled on this card; other pods may use its slices. False for a slice (`nvmlDeviceGetMigMode`).
    pub mig_enabled: bool,
    /// Whether the driver allows only one process at a time on this card. The device plugin sets this mode on a card for MPS.
    /// False for a slice (`nvmlDeviceGetComputeMode`).
    pub exclusive_process: bool,
}

/// Card and instances of a MIG slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Slice {
    /// UUID of the card that the slice belongs to.
    pub card: String,
    /// Index of the slice on the card (`nvmlDeviceGetMigDeviceHandleByIndex`).
    pub index: u32,
    /// ID of the GPU instance on the card; none if the driver does not give it (`nvmlDeviceGetGpuInstanceId`).
    pub gpu_instance: Option<u32>,
    /// ID of the compute instance within the GPU instance; none if the driver does not give it
    /// (`nvmlDeviceGetComputeInstanceId`).
    pub compute_instance: Option<u32>,
}

/// Values of one device from one poll. A value that the driver does not support or failed to return is `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Reading {
    /// All utilisation samples in the driver's buffer, in any order; empty if the buffer is empty (`nvmlDeviceGetSamples`).
    pub samples: Option<Vec<Sample>>,
    /// Utilisation, 0 to 1: the part of the driver's last measuring window in which a kernel ran. The window has 1/6 s to 1 s
    /// (`nvmlDeviceGetUtilizationRates`).
    pub utilization: Option<f64>,
    /// Frame buffer in bytes (`nvmlDeviceGetMemoryInfo_v2`).
    pub memory: Option<Memory>,
    /// Energy of the card since the driver was loaded, in millijoules (`nvmlDeviceGetTotalEnergyConsumption`).
    pub energy: Option<u64>,
    /// Power of the card in milliwatts (`nvmlDeviceGetPowerUsage`).
    pub power: Option<u32>,
    /// Temperature of the card in degrees Celsius (`nvmlDeviceGetTemperature`).
    pub temperature: Option<u32>,
    /// Clock of the card's multiprocessors in megahertz (`nvmlDeviceGetClockInfo`).
    pub sm_clock: Option<u32>,
    /// Clock of the card's frame buffer in megahertz (`nvmlDeviceGetClockInfo`).
    pub memory_clock: Option<u32>,
    /// Reasons why the card's clocks are reduced (`nvmlDeviceGetCurrentClocksThrottleReasons`).
    pub throttled: Option<Throttled>,
    /// Utilisation of the encoder in the driver's last measuring window, 0 to 1 (`nvmlDeviceGetEncoderUtilization`).
    pub encoder: Option<f64>,
    /// Utilisation of the decoder in the driver's last measuring window, 0 to 1 (`nvmlDeviceGetDecoderUtilization`).
    pub decoder: Option<f64>,
    /// Encoder sessions (`nvmlDeviceGetEncoderStats`).
    pub encoding: Option<StreamStats>,
    /// Number of encoder sessions by codec; empty if there are none (`nvmlDeviceGetEncoderSessions`).
    pub codecs: Vec<(Codec, u32)>,
    /// Frame-buffer captures (`nvmlDeviceGetFBCStats`).
    pub capturing: Option<StreamStats>,
}

/// The encoder sessions and frame-buffer captures of a device, with the PIDs of their processes. Other pods' sessions are in the
/// lists too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceStreams {
    /// Encoder sessions (`nvmlDeviceGetEncoderSessions`); none if the list cannot be read or has fewer sessions than the driver
    /// counts.
    pub encoding: Option<Vec<Stream>>,
    /// Frame-buffer captures (`nvmlDeviceGetFBCSessions`); none as for `encoding`.
    pub capturing: Option<Vec<Stream>>,
}

/// An encoder session or a frame-buffer capture of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// PID on the node, whatever the PID namespace of the caller is; none for a session of a virtual machine, whose PID is of the
    /// machine.
    pub pid: Option<u32>,
    /// Codec of an encoder session; none for a capture.
    pub codec: Option<Codec>,
    /// Frames per second, a moving average.
    pub frames: u32,
    /// Microseconds per frame, a moving average.
    pub latency: u32,
}

/// Utilisation sample of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Sample {
    /// Time of the sample in microseconds of the driver's clock. This is usually the node's wall clock.
    pub at: u64,
    /// Utilisation, 0 to 1. The driver's value is not clamped here and can be higher.
    #[serde(deserialize_with = "number_or_impossible")]
    pub ratio: f64,
}

/// A number, or -1 for null: JSON has no NaN, and one sample that is not a number must not make a report malformed.
fn number_or_impossible<'d, D: Deserializer<'d>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(-1.0))
}

/// Frame buffer of one device in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Memory {
    /// Bytes in use, without the driver's reserve. If the driver has only the older call (`nvmlDeviceGetMemoryInfo`), this value
    /// includes the reserve.
    pub used: u64,
    /// Total bytes, including the driver's reserve.
    pub total: u64,
}

/// Encoder sessions or frame-buffer captures of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct StreamStats {
    /// Number of sessions.
    pub sessions: u32,
    /// Frames per second, mean of all sessions.
    pub frames: u32,
    /// Microseconds per frame, mean of all sessions.
    pub latency: u32,
}

vocabulary! {
    /// Codec of an encoder session (`nvmlEncoderType_t`); values of the label `codec`.
    #[expect(missing_docs, reason = "each is a codec's name")]
    pub enum Codec {
        H264 = "h264",
        Hevc = "hevc",
        Av1 = "av1",
        Other = "other",
    }
}

/// Reasons for reduced clocks. Only reasons that an operator can act on are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Throttled {
    /// The board has reached its power limit.
    pub power_cap: bool,
    /// The chip or the memory is too hot.
    pub thermal: bool,
    /// The hardware has reduced the clocks by half or more, but not because of heat: the power supply requests lower power, or
    /// the card takes too much power.
    pub power_brake: bool,
}

/// A process that has a context on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// PID in the sidecar's PID namespace. Drivers before 570 can give other numbers.
    pub pid: u32,
    /// Kind of the context.
    pub kind: ProcessKind,
    /// Bytes of the frame buffer that the process uses; none if the driver does not give them.
    pub memory: Option<u64>,
}

vocabulary! {
    /// Kind of a process' context on a device; values of the label `kind`.
    #[expect(missing_docs, reason = "NVML's own names")]
    pub enum ProcessKind {
        Compute = "compute",
        Graphics = "graphics",
    }
}

/// Utilisation sample of one process on a device; ratios of 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessUtilization {
    /// PID as in [`Process`]; for a process of another PID namespace, the PID on the host.
    pub pid: u32,
    /// Time of the sample in microseconds of the node's wall clock.
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
    /// UUIDs of the card and of its visible slices; if the driver names a slice, of the card and this slice.
    pub devices: Vec<String>,
    /// Xid number of the fault; none if the driver gives no number.
    pub code: Option<u64>,
}

/// Versions that the library returned when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Versions {
    /// Version of the kernel driver; none if the call failed (`nvmlSystemGetDriverVersion`).
    pub driver: Option<String>,
    /// Version of the library; none if the call failed (`nvmlSystemGetNVMLVersion`).
    pub nvml: Option<String>,
}

// === impl Stream, StreamStats ===

impl Stream {
    /// Number of sessions by codec, without codecs that have none.
    #[must_use]
    pub fn codecs(streams: &[Self]) -> Vec<(Codec, u32)> {
        let count_of = |codec| streams.iter().filter(|stream| stream.codec == Some(codec)).count() as u32;
        let counts =
            [Codec::H264, Codec::Hevc, Codec::Av1, Codec::Other].map(|codec| (codec, count_of(codec)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

impl StreamStats {
    /// Number and means of these sessions; zeros if there are none, as the driver returns them.
    #[must_use]
    pub fn of(streams: &[Stream]) -> Self {
        let count = streams.len() as u64;
        let mean = |value: fn(&Stream) -> u32| {
            let sum: u64 = streams.iter().map(|stream| u64::from(value(stream))).sum();
            sum.checked_div(count).unwrap_or_default() as u32
        };
        Self {
            sessions: count as u32,
            frames: mean(|stream| stream.frames),
            latency: mean(|stream| stream.latency),
        }
    }
}

// === impl Reading ===

impl Reading {
    /// Whether the driver returned no value. An empty buffer of samples is not a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_samples = self.samples.as_ref().is_some_and(|samples| !samples.is_empty());
        !has_samples && Self { samples: None, ..self.clone() } == Self::default()
    }

    /// Time of the newest sample in the driver's buffer; none without samples.
    #[must_use]
    pub fn newest_sample(&self) -> Option<u64> {
        self.samples.iter().flatten().map(|sample| sample.at).max()
    }
}

// === impl Device ===

impl Device {
    /// UUID of the card: the device's own UUID for a card, the UUID of its card for a slice.
    #[must_use]
    pub fn card(&self) -> &str {
        self.slice.as_ref().map_or(&self.uuid, |slice| &slice.card)
    }

    /// Splits the name of a slice, such as `NVIDIA A100-SXM4-40GB MIG 1g.5gb`, into model and MIG profile. The profile of a card
    /// is empty.
    #[must_use]
    pub fn model_and_profile(&self) -> (&str, &str) {
        let model = self.model.as_deref().unwrap_or_default();
        model.split_once(" MIG ").filter(|_| self.slice.is_some()).unwrap_or((model, ""))
    }
}
