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
    /// Percent of the driver's last window.
    pub utilization: Option<Utilization>,
    /// Frame buffer.
    pub memory: Option<Memory>,
    /// Percent of the encoder's last window.
    pub encoder_percent: Option<u32>,
    /// Percent of the decoder's last window.
    pub decoder_percent: Option<u32>,
    /// Since the driver was loaded.
    pub energy_millijoules: Option<u64>,
    /// Of the whole board.
    pub power_milliwatts: Option<u32>,
    /// Of the chip.
    pub temperature_celsius: Option<u32>,
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
