//! Devices that the session should have and the driver does not show.

use super::state::{DeviceState, DeviceStates};
use crate::{
    gpu::id::Id,
    sidecar::{
        attribution::{Strategy, UnavailableReason},
        observation::DeviceView,
    },
};

/// The session's devices that are not visible now and that the pod should still have.
pub(super) fn missing(earlier: &DeviceStates, view: DeviceView<'_>) -> DeviceStates {
    let allocated = earlier.iter().filter(|(_, state)| state.is_allocated()).map(|(uuid, _)| uuid);
    let missing = allocated.filter(|uuid| !view.shows(uuid) && is_still_expected(uuid, view));
    missing.map(|uuid| (uuid.clone(), DeviceState::Missing(why_not_visible(view)))).collect()
}

/// Whether a device that was the session's and is not visible is still the session's. Both must be true: nothing names only
/// other devices; and some evidence shows that the pod has the device (a claim, a name, a process seen on it earlier), or the
/// driver has a device whose UUID it cannot give.
fn is_still_expected(uuid: &str, view: DeviceView<'_>) -> bool {
    let expected = view.expected;
    let may_name = |id: &Id| match id.as_uuid() {
        Some(named) => named.eq_ignore_ascii_case(uuid),
        // A number that matches no visible device may mean this one.
        None => !id.is_among(view.visible),
    };
    let is_expected = expected.has_claim
        || !expected.named.is_empty()
        || expected.with_processes.iter().any(|other| other == uuid);
    (expected.named.is_empty() || expected.named.iter().any(may_name))
        && (is_expected || !view.without_uuid.is_empty())
}

/// Devices of the session that were never visible: devices named by the claim's metadata or the annotation; and, for a claim
/// that names none, one device whose UUID the driver cannot give (every device visible through a claim is the session's).
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

/// The named UUIDs, each once, that are neither visible nor missing.
fn named_and_not_visible<'v>(missing: &DeviceStates, view: DeviceView<'v>) -> Vec<&'v str> {
    let mut uuids: Vec<&str> = vec![];
    let not_visible = view.expected.named.iter().filter(|id| !id.is_among(view.visible));
    for uuid in not_visible.filter_map(Id::as_uuid) {
        let is_same = |other: &str| other.eq_ignore_ascii_case(uuid);
        let is_missing = missing.iter().any(|(other, _)| is_same(other));
        if !is_missing && !uuids.iter().any(|other| is_same(other)) {
            uuids.push(uuid);
        }
    }
    uuids
}

/// Why a device is not visible. If the driver has devices whose UUID it cannot give, the device is assumed to be one of them.
pub(super) fn why_not_visible(view: DeviceView<'_>) -> UnavailableReason {
    view.without_uuid.first().map_or(UnavailableReason::NotVisible, |fault| UnavailableReason::from(*fault))
}
