//! Everything that one poll gives, as plain data: the input of [`super::track`].

use std::time::Instant;

use super::attribution::AttributionResult;
use crate::{
    gpu::{Device, Fault, id::Id},
    sampling::observation::DeviceObservation,
};

/// Result of one poll of a driver that answers.
#[derive(Clone, Debug)]
pub(super) struct Observation<'o> {
    /// When the devices were attributed, before they were read: allocated time is counted up to here.
    pub(super) at: Instant,
    /// The devices that the driver shows and the devices that it should show.
    pub(super) view: DeviceView<'o>,
    /// The session's devices among the visible ones, or why there are none.
    pub(super) attribution: AttributionResult,
    /// Values of the session's devices, in the order of the attribution.
    pub(super) readings: Vec<DeviceObservation>,
}

/// The devices that the driver shows and the devices that it should show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeviceView<'o> {
    /// The devices that the driver shows.
    pub(super) visible: &'o [Device],
    /// Devices that the driver counts and whose UUID it cannot give: the failure of each.
    pub(super) without_uuid: &'o [Fault],
    /// Evidence of the devices that the pod should have.
    pub(super) expected: ExpectedDevices<'o>,
}

/// Evidence of the devices that the pod should have, visible or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExpectedDevices<'o> {
    /// Whether the pod has a resource claim.
    pub(super) has_claim: bool,
    /// The devices that the claim's metadata or, without a claim, the annotation names. If there are any, the session has no
    /// others.
    pub(super) named: &'o [Id],
    /// UUIDs of the devices on which processes of the pod have been, at this or an earlier poll.
    pub(super) with_processes: &'o [String],
}

// === impl DeviceView ===

impl DeviceView<'_> {
    /// Whether the driver shows the device.
    pub(super) fn shows(self, uuid: &str) -> bool {
        self.visible.iter().any(|device| device.uuid == uuid)
    }
}
