//! Result of one poll as plain data: the input of [`super::track`].

use std::time::{Duration, Instant};

use super::attribution::{AttributionResult, UnavailableReason};
use crate::{
    gpu::{Device, Fault, ReopenReason, id::Id},
    sampling::observation::DeviceObservation,
};

/// Result of one poll of a driver that answers, or of a poll that does not need the driver.
#[derive(Clone, Debug)]
pub(super) struct Observation<'o> {
    /// Time at which the devices were attributed, before they were read. Allocated time is counted up to this time.
    pub(super) at: Instant,
    /// Time between two observations of the source; none if it is the interval of the sidecar.
    pub(super) interval: Option<Duration>,
    /// The devices that the driver shows and the devices that it should show.
    pub(super) view: DeviceView<'o>,
    /// The visible devices that belong to the session, or why none does.
    pub(super) attribution: AttributionResult,
    /// Values of the session's devices, in the order of the attribution.
    pub(super) readings: Vec<DeviceObservation>,
}

/// The devices that the driver shows and the devices that it should show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeviceView<'o> {
    /// The devices that the driver shows.
    pub(super) visible: &'o [Device],
    /// The fault for each card or slice whose UUID the driver cannot give.
    pub(super) without_uuid: &'o [Fault],
    /// Reason to reopen the library because of any device, including devices of other pods.
    pub(super) reopen: Option<ReopenReason>,
    /// Evidence of the devices that the pod should have.
    pub(super) expected: ExpectedDevices<'o>,
}

/// Evidence of the devices that the pod should have, visible or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExpectedDevices<'o> {
    /// Whether the pod has a resource claim.
    pub(super) has_claim: bool,
    /// IDs of the devices in the claim's metadata; without a claim, in the annotation. If the list is not empty, the session has
    /// only these devices.
    pub(super) named: &'o [Id],
    /// UUIDs of the devices that had processes of the pod at this or an earlier poll.
    pub(super) with_processes: &'o [String],
    /// IDs of the devices in the environments of the pod's processes.
    pub(super) in_environments: &'o [Id],
}

// === impl Observation ===

impl Observation<'_> {
    /// The observation of a poll that does not need the driver. `reason` says why the session has no device.
    pub(super) fn without_driver(reason: UnavailableReason, at: Instant) -> Self {
        let attribution = AttributionResult { outcome: Err(reason), not_applicable: vec![] };
        Self { at, interval: None, view: DeviceView::default(), attribution, readings: vec![] }
    }
}

// === impl DeviceView ===

impl DeviceView<'_> {
    /// Whether the driver shows the device.
    pub(super) fn shows(self, uuid: &str) -> bool {
        self.visible.iter().any(|device| device.uuid == uuid)
    }
}
