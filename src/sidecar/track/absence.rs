//! Finds the devices that the session should have and that the driver does not show.

use super::state::{DeviceState, DeviceStates};
use crate::{
    gpu::id::Id,
    sidecar::{
        attribution::{Strategy, UnavailableReason},
        observation::{DeviceView, ExpectedDevices},
    },
};

/// The allocated devices of the session that are not visible now and that the pod should still have.
pub(super) fn missing(earlier: &DeviceStates, view: DeviceView<'_>) -> DeviceStates {
    let allocated = earlier.iter().filter(|(_, state)| state.is_allocated()).map(|(uuid, _)| uuid);
    let missing = allocated.filter(|uuid| !view.shows(uuid) && is_still_expected(uuid, view));
    missing.map(|uuid| (uuid.clone(), DeviceState::Missing(why_not_visible(view)))).collect()
}

/// Whether the session still has a device that was allocated and is not visible now.
///
/// If the claim or the annotation names devices: whether this device may be one of them. Otherwise: whether the pod has a claim,
/// a process of the pod was on the device, or the driver has a device without a UUID.
fn is_still_expected(uuid: &str, view: DeviceView<'_>) -> bool {
    let expected = view.expected;
    // An ID without a UUID is a number. If it names no visible device, it may mean this device.
    let may_name = |id: &Id| id.fits_uuid(uuid).unwrap_or_else(|| !id.is_among(view.visible));
    if !expected.named.is_empty() {
        return expected.named.iter().any(may_name);
    }
    let had_processes = expected.with_processes.iter().any(|other| other == uuid);
    expected.has_claim || had_processes || !view.without_uuid.is_empty()
}

/// Whether the claim or the annotation names devices and this device is not one of them. Used while no device is visible.
pub(super) fn is_replaced(uuid: &str, expected: ExpectedDevices<'_>) -> bool {
    !expected.named.is_empty() && !is_still_expected(uuid, DeviceView { expected, ..DeviceView::default() })
}

/// Devices that the session should have and that were never visible.
///
/// If the claim's metadata or the annotation names devices: every named device that is not visible.
///
/// With a claim without metadata, each device of the driver is the session's. So a device without a UUID is returned as one entry
/// with an empty UUID. Exception: if a device is missing, the device without a UUID may be the missing one.
pub(super) fn never_visible(
    strategy: Strategy,
    missing: &DeviceStates,
    view: DeviceView<'_>,
) -> DeviceStates {
    let reason = why_not_visible(view);
    let expected = view.expected;
    let uuids = match strategy {
        Strategy::Claim if !expected.named.is_empty() => named_and_not_visible(missing, view),
        Strategy::Claim if missing.is_empty() && !view.without_uuid.is_empty() => vec![""],
        Strategy::Annotation => named_and_not_visible(missing, view),
        _ => vec![],
    };
    uuids.into_iter().map(|uuid| (uuid.to_owned(), DeviceState::NeverVisible(reason))).collect()
}

/// Whether a device that this strategy does not attribute may be the session's too. If the evidence of the strategy names
/// devices, this is possible only if one of the named devices is not visible.
pub(super) fn may_have_other(strategy: Strategy, view: DeviceView<'_>) -> bool {
    let named = match strategy {
        Strategy::Claim | Strategy::Annotation => view.expected.named,
        Strategy::Environment => view.expected.in_environments,
        Strategy::NodeAgent | Strategy::SingleDevice | Strategy::Processes => return false,
        Strategy::Node => return true,
    };
    named.is_empty() || !named.iter().all(|id| id.is_among(view.visible))
}

/// UUIDs that the claim or the annotation names and that are neither visible nor missing; each UUID once.
fn named_and_not_visible<'v>(missing: &DeviceStates, view: DeviceView<'v>) -> Vec<&'v str> {
    let mut uuids: Vec<&str> = vec![];
    for id in view.expected.named.iter().filter(|id| !id.is_among(view.visible)) {
        let mut known = missing.iter().map(|(uuid, _)| uuid.as_str()).chain(uuids.iter().copied());
        let is_new = !known.any(|uuid| id.fits_uuid(uuid) == Some(true));
        uuids.extend(id.as_uuid().filter(|_| is_new));
    }
    uuids
}

/// Why a device is not visible. If the driver has devices without a UUID, the device is assumed to be one of them, and the
/// reason is the fault of the first one.
pub(super) fn why_not_visible(view: DeviceView<'_>) -> UnavailableReason {
    view.without_uuid.first().map_or(UnavailableReason::NotVisible, |fault| UnavailableReason::from(*fault))
}
