//! The publication of the session's devices after a poll.

use super::{
    absence,
    state::{DeviceState, DeviceStates},
};
use crate::{
    gpu::ReopenReason,
    sidecar::{
        attribution::{NotApplicable, Strategy, UnavailableReason},
        observation::DeviceView,
        snapshot::{AttributionInfo, Gpu},
    },
};

/// The session's devices after a poll.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sidecar) struct Publication {
    /// How the devices were attributed, or why no device could be read.
    pub(in crate::sidecar) attribution: Result<AttributionInfo, UnavailableReason>,
    /// The strategies that were tried before, each with the reason why it does not apply.
    pub(in crate::sidecar) not_applicable: Vec<(Strategy, NotApplicable)>,
    /// The devices that were read.
    pub(in crate::sidecar) gpus: Vec<Gpu>,
    /// UUIDs of the devices that could not be read, with the reasons. Empty if none could be read: then the one
    /// reason is in `attribution`.
    pub(in crate::sidecar) lost: Vec<(String, UnavailableReason)>,
    /// Whether every device of the session was read, with all values that the device supports. True if the pod has no device.
    pub(in crate::sidecar) is_complete: bool,
    /// Reason to reopen the library; none if every device that is or may be the session's can be read. Devices of other pods are
    /// not a reason: closing the library interrupts the reading of the session's devices, and reopening it can fail.
    pub(in crate::sidecar) reopen: Option<ReopenReason>,
}

// === impl Publication ===

impl Publication {
    /// A publication without devices. It is complete if the pod has no device.
    pub(in crate::sidecar) fn unavailable(reason: UnavailableReason) -> Self {
        Self {
            attribution: Err(reason),
            not_applicable: vec![],
            gpus: vec![],
            lost: vec![],
            is_complete: matches!(reason, UnavailableReason::NotRequested | UnavailableReason::NotAllocated),
            reopen: None,
        }
    }

    /// A publication of the attributed devices. If none of them could be read, it has no devices, and its reason is that of the
    /// first device in `states` that could not be read.
    pub(super) fn attributed(
        attribution: AttributionInfo,
        not_applicable: Vec<(Strategy, NotApplicable)>,
        states: &DeviceStates,
        view: DeviceView<'_>,
        gpus: Vec<Gpu>,
        has_all_values: bool,
    ) -> Self {
        let lost: Vec<_> = states
            .iter()
            .filter_map(|(uuid, state)| Some((uuid.clone(), state.unavailable_reason()?)))
            .collect();
        let is_complete = lost.is_empty() && !gpus.is_empty() && has_all_values;
        let other = view.reopen.filter(|_| absence::may_have_other(attribution.strategy, view));
        let reopen = reopen_reason(states).or(other);
        match lost.first() {
            Some((_, reason)) if gpus.is_empty() => {
                Self { not_applicable, reopen, ..Self::unavailable(*reason) }
            }
            _ => Self { attribution: Ok(attribution), not_applicable, gpus, lost, is_complete, reopen },
        }
    }

    /// Adds the reason `too_many`, because some devices of the session are not counted. If no device could be read, the reason
    /// for that stays.
    pub(super) fn with_devices_left_out(mut self) -> Self {
        if self.attribution.is_ok() {
            self.lost.push((String::new(), UnavailableReason::TooMany));
            self.is_complete = false;
        }
        self
    }

    /// A publication without devices, for a poll in which no strategy applies.
    pub(super) fn not_attributed(
        reason: UnavailableReason,
        states: &DeviceStates,
        not_applicable: Vec<(Strategy, NotApplicable)>,
        view: DeviceView<'_>,
    ) -> Self {
        // A device that is not visible may appear in a reopened library.
        let is_not_visible = !view.expected.named.is_empty() || reason == UnavailableReason::NotVisible;
        // Any device may be the session's, unless the session has none.
        let other = view.reopen.filter(|_| reason != UnavailableReason::NotRequested);
        let not_visible = is_not_visible.then_some(ReopenReason::NotVisible);
        let reopen = reopen_reason(states).or(not_visible).or(other);
        if let Some((_, DeviceState::Missing(reason))) = states.first() {
            // A device of the session is missing, and that is the cause. Why the strategies do not apply is not published.
            return Self { reopen, ..Self::unavailable(*reason) };
        }
        // The driver has a device without a UUID. Its fault explains more than `not_visible` or `no_device`.
        let is_not_shown = matches!(reason, UnavailableReason::NotVisible | UnavailableReason::NoDevice)
            && !view.without_uuid.is_empty();
        let reason = if is_not_shown { absence::why_not_visible(view) } else { reason };
        Self { not_applicable, reopen, ..Self::unavailable(reason) }
    }
}

/// Reason to reopen the library because of the session's own devices.
fn reopen_reason(states: &DeviceStates) -> Option<ReopenReason> {
    states.iter().find_map(|(_, state)| state.reopen_reason())
}
