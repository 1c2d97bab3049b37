//! What the fake driver shows: a JSON file. What a device does not name it does not support.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::Symbol;

/// A driver and its devices at one moment.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Kernel driver, such as `580.95.05`.
    pub driver_version: Option<String>,
    /// Library, such as `13.580.95.05`.
    pub nvml_version: Option<String>,
    /// Visible devices, in order.
    pub devices: Vec<Device>,
    /// Milliseconds that it takes to load the library, and to unload it.
    pub loading_ms: u64,
    /// Calls that fail or dawdle, by symbol.
    pub calls: BTreeMap<Symbol, Behaviour>,
}

/// One visible device.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    /// `GPU-` and 36 characters.
    pub uuid: Option<String>,
    /// Marketing name.
    pub name: Option<String>,
    /// Fell off the bus: every call for it fails with `NVML_ERROR_GPU_IS_LOST`.
    pub lost: bool,
    /// Whether it is cut into MIG slices; a card that cannot be names nothing.
    pub mig: Option<bool>,
    /// Those of its MIG slices that are visible. Each has only what a slice can have.
    pub slices: Vec<Self>,
    /// Number of its device file.
    pub minor: Option<u32>,
    /// Of a slice: its GPU instance.
    pub gpu_instance: Option<u32>,
    /// Of a slice: its compute instance on that.
    pub compute_instance: Option<u32>,
    /// `nvmlComputeMode_t`; 3 is one process at a time.
    pub compute_mode: Option<u32>,
    /// Percent of the driver's last window.
    pub utilization: Option<Utilization>,
    /// What the driver's sample buffer holds; without it samples are not supported.
    pub samples: Option<Samples>,
    /// Frame buffer.
    pub memory: Option<Memory>,
    /// Processes with a compute context, as this container sees them.
    pub compute: Option<Vec<Process>>,
    /// Processes with a graphics context.
    pub graphics: Option<Vec<Process>>,
    /// Busy percent by process, foreign ones with their host's numbers.
    pub shares: Option<Vec<Share>>,
    /// Percent of the encoder's last window.
    pub encoder_percent: Option<u32>,
    /// Percent of the decoder's last window.
    pub decoder_percent: Option<u32>,
    /// Encoder sessions: count, frames a second, microseconds.
    pub encoding: Option<[u32; 3]>,
    /// Codec of each encoder session (`nvmlEncoderType_t`).
    pub codecs: Option<Vec<u32>>,
    /// Frame-buffer captures: count, frames a second, microseconds.
    pub capturing: Option<[u32; 3]>,
    /// Since the driver was loaded.
    pub energy_millijoules: Option<u64>,
    /// Of the whole board.
    pub power_milliwatts: Option<u32>,
    /// Of the chip.
    pub temperature_celsius: Option<u32>,
    /// Of the multiprocessors.
    pub sm_megahertz: Option<u32>,
    /// Of the frame buffer.
    pub memory_megahertz: Option<u32>,
    /// `nvmlClocksThrottleReason*` bits.
    pub throttle_reasons: Option<u64>,
    /// Every fault since the driver was loaded; a waiting event set gets those that it has not had yet.
    pub xids: Option<Vec<u64>>,
}

/// The driver's buffer of utilisation samples, made at every call from the wall clock.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Samples {
    /// Microseconds between two samples.
    pub period_us: u64,
    /// How many samples it holds.
    pub length: u64,
    /// Unix time in microseconds at which [`Self::course`] begins; before it and after it nothing is done.
    pub begins_us: u64,
    /// Microseconds and percent, one part after the other; empty means the device's `utilization` at all times.
    pub course: Vec<(u64, u32)>,
}

/// A process on a device.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Bytes of the frame buffer; none is `NVML_VALUE_NOT_AVAILABLE`.
    pub memory: Option<u64>,
    /// How often it is listed before it has ended; none is for ever.
    pub lists: Option<usize>,
}

/// What a process had of a device.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Share {
    /// Its number.
    pub pid: u32,
    /// Percent of the multiprocessors' time.
    pub sm: u32,
    /// Percent of the encoder's time.
    pub encoder: u32,
    /// Percent of the decoder's time.
    pub decoder: u32,
    /// How many seconds ago it was.
    pub age: u64,
    /// Unix time in microseconds at which it was, instead.
    pub at_us: Option<u64>,
}

/// Busy percent of a device.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Utilization {
    /// Time in which a kernel ran.
    pub gpu: u32,
    /// Time in which memory was accessed.
    pub memory: u32,
}

/// Frame buffer of a device in bytes; what is neither used nor reserved is free.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// Held by the driver.
    pub reserved: u64,
    /// Held by processes.
    pub used: u64,
}

/// What a call does instead of, or before, answering.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// The `nvmlReturn_t` to fail with.
    pub returns: Option<u32>,
    /// Milliseconds that the driver takes for it.
    pub delay_ms: u64,
    /// Entries of a process list that come after their number was asked for.
    pub hides: u32,
}

// === impl Scenario ===

impl Scenario {
    /// Reads `path`; the error names the file, the place in it and the field.
    ///
    /// # Errors
    /// Fails where the file cannot be read or is no scenario.
    pub fn read(path: &Path) -> io::Result<Self> {
        let named = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
        let text = fs::read(path).map_err(|error| named(&error))?;
        serde_json::from_slice(&text).map_err(|error| named(&error))
    }

    /// Replaces `path` in one step, so that a call never sees half of it.
    ///
    /// # Errors
    /// Fails where the folder cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let next = path.with_extension("next");
        fs::write(&next, serde_json::to_vec_pretty(self)?)?;
        fs::rename(next, path)
    }
}

// === impl Samples ===

impl Samples {
    /// Times in microseconds and percent of the samples that the buffer holds at `now`, oldest first.
    #[must_use]
    pub fn at(&self, now: u64, constant: u32) -> Vec<(u64, u32)> {
        if self.length == 0 {
            return vec![];
        }
        let period = self.period_us.max(1);
        let newest = now / period;
        let percent = |at: u64| {
            if self.course.is_empty() { constant } else { self.mean(at.saturating_sub(period), at) }
        };
        (newest.saturating_sub(self.length.saturating_sub(1))..=newest)
            .map(|number| (number * period, percent(number * period)))
            .collect()
    }

    /// Seconds of work in the whole course.
    #[must_use]
    pub fn busy_seconds(&self) -> f64 {
        self.course.iter().map(|(time, percent)| *time as f64 / 1e6 * f64::from(*percent) / 100.0).sum()
    }

    fn mean(&self, from: u64, to: u64) -> u32 {
        let (mut begins, mut sum) = (self.begins_us, 0);
        for (time, percent) in &self.course {
            let ends = begins + time;
            sum += to.min(ends).saturating_sub(from.max(begins)) * u64::from(*percent);
            begins = ends;
        }
        (sum / (to - from).max(1)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_wrong_field_is_named() {
        assert!(parse(r#"{"device": []}"#).unwrap_err().contains("unknown field `device`"));
        assert!(parse(r#"{"devices": [{"utilisation": 1}]}"#).unwrap_err().contains("`utilisation`"));
        assert!(parse(r#"{"calls": {"nvmlInit": {}}}"#).unwrap_err().contains("unknown variant `nvmlInit`"));
        assert!(parse(r#"{"calls": {"nvmlInit_v2": {"returns": 9}}}"#).is_ok());
    }
}
