//! Result of one poll for one device, as plain data.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::processes::OwnUsage;
use crate::gpu::{Fault, Reading};

/// Result of one poll for one device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceObservation {
    /// UUID of the device.
    pub uuid: String,
    /// Time at which the device was read.
    pub at: Instant,
    /// The values, or the fault because of which the device could not be read.
    pub values: Result<DeviceValues, Fault>,
}

/// Values of one device.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DeviceValues {
    /// Values from the driver.
    pub reading: Reading,
    /// Use of the device by the session's own processes; none if it cannot be read.
    pub own: Option<OwnUsage>,
    /// Whether a value that the device supports could not be read.
    pub is_incomplete: bool,
}
