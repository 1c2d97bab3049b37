//! The scenario of the fake driver: a JSON file. A device does not support the values that its entry does not have.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::symbol::Symbol;

/// The state of a driver and its devices.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Version of the kernel driver, such as `580.95.05`.
    pub driver_version: Option<String>,
    /// Version of the library, such as `13.580.95.05`.
    pub nvml_version: Option<String>,
    /// The visible devices, in the order of their indices.
    pub devices: Vec<Device>,
    /// Milliseconds that loading the library takes, and unloading it too.
    pub loading_ms: u64,
    /// Whether the times of samples come from the clock since the node's boot, instead of the wall clock.
    pub boot_clock: bool,
    /// Calls that fail, are slow or answer nonsense, by symbol; for all devices.
    pub calls: BTreeMap<Symbol, Behaviour>,
}

/// A visible device.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    /// `GPU-` and 36 characters.
    pub uuid: Option<String>,
    /// Marketing name.
    pub name: Option<String>,
    /// Whether the GPU is lost: every call for it fails with `NVML_ERROR_GPU_IS_LOST`.
    pub lost: bool,
    /// The `nvmlReturn_t` of every call for an old handle of this device, which does not exist any more: it is not listed. A
    /// device that takes its place in the scenario gets its handle.
    pub gone: Option<u32>,
    /// Whether another program tries to destroy this slice. That fails while this process has a handle of the slice.
    pub is_to_be_destroyed: bool,
    /// Calls for this device that fail, are slow or answer nonsense, by symbol. The calls that return a handle of the device are
    /// such calls too.
    pub calls: BTreeMap<Symbol, Behaviour>,
    /// Whether MIG is enabled. `None` for a card that does not support MIG.
    pub mig: Option<bool>,
    /// The visible MIG slices of the card. A slice has only the values that real slices have.
    pub slices: Vec<Self>,
    /// Number of the device file.
    pub minor: Option<u32>,
    /// GPU instance of a slice.
    pub gpu_instance: Option<u32>,
    /// Compute instance of a slice, on its GPU instance.
    pub compute_instance: Option<u32>,
    /// `nvmlComputeMode_t`; 3 allows one process at a time.
    pub compute_mode: Option<u32>,
    /// Utilization in the driver's last window, in percent.
    pub utilization: Option<Utilization>,
    /// The driver's sample buffer. Without it samples are not supported.
    pub samples: Option<Samples>,
    /// Frame buffer.
    pub memory: Option<Memory>,
    /// Processes with a compute context, with their IDs in this container.
    pub compute: Option<Vec<Process>>,
    /// Processes with a graphics context.
    pub graphics: Option<Vec<Process>>,
    /// Processes that use the device through MPS.
    pub mps: Option<Vec<Process>>,
    /// Utilization by process. Processes of other containers have their IDs on the host.
    pub process_utilization: Option<Vec<ProcessUtilization>>,
    /// Further processes of `process_utilization`, whose work changes.
    pub process_courses: Vec<ProcessCourse>,
    /// Utilization of the encoder in its last window, in percent.
    pub encoder_percent: Option<u32>,
    /// Utilization of the decoder in its last window, in percent.
    pub decoder_percent: Option<u32>,
    /// Encoder sessions: count, frames per second, latency in microseconds.
    pub encoding: Option<[u32; 3]>,
    /// Codec of each encoder session (`nvmlEncoderType_t`), for a scenario without `encoder_sessions`.
    pub codecs: Option<Vec<u32>>,
    /// Encoder sessions with their processes. If it is set, `codecs` is ignored.
    pub encoder_sessions: Option<Vec<Stream>>,
    /// Frame-buffer captures: count, frames per second, latency in microseconds.
    pub capturing: Option<[u32; 3]>,
    /// Frame-buffer captures with their processes.
    pub captures: Option<Vec<Stream>>,
    /// Energy since the driver was loaded.
    pub energy_millijoules: Option<u64>,
    /// Power of the entire board.
    pub power_milliwatts: Option<u32>,
    /// Temperature of the chip.
    pub temperature_celsius: Option<u32>,
    /// Clock of the multiprocessors.
    pub sm_megahertz: Option<u32>,
    /// Clock of the memory.
    pub memory_megahertz: Option<u32>,
    /// `nvmlClocksThrottleReason*` bits.
    pub throttle_reasons: Option<u64>,
    /// All XIDs since the driver was loaded. An event set returns each of them once.
    pub xids: Option<Vec<u64>>,
    /// GPU instance and compute instance that the faults name; none if they name no slice.
    pub xid_instances: Option<(u32, u32)>,
}

/// The driver's buffer of utilization samples. Every call computes it from the wall clock.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Samples {
    /// Microseconds between two samples.
    pub period_us: u64,
    /// Number of samples in the buffer.
    pub length: u64,
    /// Unix time in microseconds at which [`Self::course`] begins. Before and after it the device is idle.
    pub begins_us: u64,
    /// Consecutive periods: microseconds and percent. An empty list means the device's constant `utilization`.
    pub course: Vec<(u64, u32)>,
    /// Further samples: microseconds of the driver's clock and percent. They come before the others.
    pub further: Vec<(u64, u32)>,
}

/// A process on a device.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Process ID.
    pub pid: u32,
    /// Bytes of the frame buffer; `None` is `NVML_VALUE_NOT_AVAILABLE`.
    pub memory: Option<u64>,
    /// Number of listings after which the process has ended; `None` means that it never ends.
    pub ends_after_lists: Option<usize>,
}

/// A utilization sample of a process.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessUtilization {
    /// Process ID.
    pub pid: u32,
    /// Percent of the multiprocessors' time.
    pub sm: u32,
    /// Percent of the encoder's time.
    pub encoder: u32,
    /// Percent of the decoder's time.
    pub decoder: u32,
    /// Age of the sample in seconds.
    pub age_seconds: u64,
    /// Unix time of the sample in microseconds. If it is set, `age_seconds` is ignored.
    pub at_us: Option<u64>,
}

/// The work of a process on a device. As with a real driver (`nvtop#91`), a call returns the mean since the given time, and leaves out
/// a process that has not worked since.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessCourse {
    /// Process ID.
    pub pid: u32,
    /// As in [`Samples`].
    pub begins_us: u64,
    /// As in [`Samples`]: microseconds and percent of the multiprocessors' time.
    pub course: Vec<(u64, u32)>,
}

/// An encoder session or a frame-buffer capture.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stream {
    /// Process ID on the node.
    pub pid: u32,
    /// `nvmlEncoderType_t` of an encoder session.
    pub codec: u32,
    /// Frames per second.
    pub frames: u32,
    /// Microseconds per frame.
    pub latency: u32,
    /// Virtual machine that the process belongs to; 0 for a process of the node.
    pub vgpu_instance: u32,
}

/// Utilization of a device, in percent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Utilization {
    /// Percentage of time in which a kernel ran.
    pub gpu: u32,
    /// Percentage of time in which memory was accessed.
    pub memory: u32,
}

/// Frame buffer of a device, in bytes. The free memory is the total minus the reserved and the used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Total memory.
    pub total: u64,
    /// Memory that the driver reserves.
    pub reserved: u64,
    /// Memory that processes use.
    pub used: u64,
}

/// A change to the behaviour of a call.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// The `nvmlReturn_t` with which the call fails.
    pub returns: Option<u32>,
    /// Milliseconds that the call takes.
    pub delay_ms: u64,
    /// Number of calls for each device, since the scenario was written, that behave normally before this behaviour begins.
    pub after: u64,
    /// Number of calls for each device that have this behaviour; `None` means all later calls.
    pub times: Option<u64>,
    /// The call succeeds, and every byte of its answer has this value. 255 gives `0xFFFFFFFF` and `NVML_VALUE_NOT_AVAILABLE`, and
    /// texts without an end. 0 gives zeros and empty texts.
    pub fill: Option<u8>,
    /// Number of the Xid fault of the card that each call causes.
    pub xid: Option<u64>,
    /// Whether samples are returned that are older than requested.
    pub ignores_since: bool,
    /// How many times each entry of a list is repeated.
    pub repeats: usize,
    /// Number of entries that are added after the call that returns only the number of entries.
    pub hidden_entries: usize,
}

// === impl Scenario ===

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a scenario. The error names the file, the line and the field.
    pub fn read(path: &Path) -> io::Result<Self> {
        let named = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
        let text = fs::read(path).map_err(|error| named(&error))?;
        serde_json::from_slice(&text).map_err(|error| named(&error))
    }

    /// Replaces the file in one step, so that a call never reads a partial file.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let next = path.with_extension("next");
        fs::write(&next, serde_json::to_vec_pretty(self)?)?;
        fs::rename(next, path)
    }
}

// === impl Device ===

impl Device {
    /// The encoder sessions. If the scenario has only their codecs, the sessions of a process of another pod.
    pub(crate) fn encoder_sessions(&self) -> Option<Vec<Stream>> {
        let session =
            |codec: &u32| Stream { pid: 4711, codec: *codec, frames: 60, latency: 4000, vgpu_instance: 0 };
        self.encoder_sessions
            .clone()
            .or_else(|| self.codecs.as_ref().map(|codecs| codecs.iter().map(session).collect()))
    }
}

// === impl Memory ===

impl Memory {
    /// Memory that is neither used nor reserved.
    pub(crate) fn free(self) -> u64 {
        self.total.saturating_sub(self.reserved.saturating_add(self.used))
    }
}

// === impl Behaviour ===

impl Behaviour {
    /// A call that fails with this `nvmlReturn_t`.
    #[must_use]
    pub fn failing(code: u32) -> Self {
        Self { returns: Some(code), ..Self::default() }
    }

    /// Whether a call has this behaviour if `earlier` calls came before it.
    pub(crate) fn applies_to(&self, earlier: u64) -> bool {
        earlier >= self.after && self.times.is_none_or(|times| earlier - self.after < times)
    }
}

// === impl Samples ===

impl Samples {
    /// The samples in the buffer at the time `now`, the oldest first: microseconds and percent.
    #[must_use]
    pub fn at(&self, now: u64, constant: u32) -> Vec<(u64, u32)> {
        let period = self.period_us.max(1);
        let newest = now / period;
        let percent = |at: u64| {
            if self.course.is_empty() { constant } else { self.mean(at.saturating_sub(period), at) }
        };
        let buffer = (newest + 1).saturating_sub(self.length)..=newest;
        let buffer = buffer.map(|number| (number * period, percent(number * period)));
        self.further.iter().copied().chain(buffer).collect()
    }

    /// Busy seconds of the entire course.
    #[must_use]
    pub fn busy_seconds(&self) -> f64 {
        self.course.iter().map(|(time, percent)| *time as f64 / 1e6 * f64::from(*percent) / 100.0).sum()
    }

    fn mean(&self, from: u64, to: u64) -> u32 {
        mean(self.begins_us, &self.course, from, to) as u32
    }
}

// === impl ProcessCourse ===

impl ProcessCourse {
    /// The mean of the time after `since`, as far as the driver keeps it, and the time of the last work; none without work.
    pub(crate) fn sample(&self, since: u64, now: u64) -> Option<(u64, u32)> {
        let since = since.max(now.saturating_sub(KEPT_US));
        let mut ends = self.begins_us;
        let mut worked_at = None;
        for (time, percent) in &self.course {
            let begins = ends;
            ends += time;
            if *percent > 0 && begins < now && ends > since {
                worked_at = Some(ends.min(now));
            }
        }
        Some((worked_at?, mean(self.begins_us, &self.course, since, now).round() as u32))
    }
}

/// The mean percent of a course between two times.
fn mean(begins_us: u64, course: &[(u64, u32)], from: u64, to: u64) -> f64 {
    let (mut begins, mut sum) = (begins_us, 0);
    for (time, percent) in course {
        let ends = begins + time;
        sum += to.min(ends).saturating_sub(from.max(begins)) * u64::from(*percent);
        begins = ends;
    }
    sum as f64 / to.saturating_sub(from).max(1) as f64
}

/// Microseconds for which the driver keeps the work of processes. Real drivers keep up to 4096 samples (`ksysguard6#18`).
const KEPT_US: u64 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_field_is_reported_by_name() {
        assert!(parse(r#"{"device": []}"#).unwrap_err().contains("unknown field `device`"));
        assert!(parse(r#"{"devices": [{"utilisation": 1}]}"#).unwrap_err().contains("`utilisation`"));
        assert!(parse(r#"{"calls": {"nvmlInit": {}}}"#).unwrap_err().contains("unknown variant `nvmlInit`"));
        assert!(parse(r#"{"calls": {"nvmlInit_v2": {"returns": 9}}}"#).is_ok());
    }
}
