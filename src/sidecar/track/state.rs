//! The state of one device.

use crate::sidecar::attribution::UnavailableReason;

/// State of one device for the session, after a poll.
///
/// | state | meaning | series of the device | seconds |
/// |---|---|---|---|
/// | `Read` | The device is the session's and was read. | all values, all counters | allocated; busy by its samples |
/// | `Unread` | The device is the session's and could not be read: the call failed, or the driver does not answer. | counters; its reason | allocated, all of them unsampled |
/// | `Missing` | The session had the device, should still have it, and the driver does not show it. | counters; its reason | allocated, all of them unsampled |
/// | `ShownOnly` | No evidence shows whose the device is; it is shown for the totals of the node. | all values, counters with the scope `node`; its reason if it could not be read | busy, none allocated |
/// | `Released` | The device was in one of the states above and is not the session's any more. | counters, which stay as they are | none |
/// | `NeverVisible` | The claim or the annotation names the device, or the claim names none and the driver has a device without a UUID; the driver does not show it, and the session did not have it. | its reason | none |
///
/// A reason is the series `vdi_session_gpu_unavailable_info{reason,gpu}`. If no device could be read, one reason is published
/// for the session, without `gpu`. Counters of a released device go on from their values when the device is allocated again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceState {
    Read,
    Unread(UnavailableReason),
    Missing(UnavailableReason),
    ShownOnly { unread: Option<UnavailableReason> },
    Released,
    NeverVisible(UnavailableReason),
}

/// Devices with their states, by UUID: missing ones, attributed ones in the driver's order, never visible ones, and
/// released ones. A device whose UUID the driver cannot give has an empty UUID.
pub(super) type DeviceStates = Vec<(String, DeviceState)>;

// === impl DeviceState ===

impl DeviceState {
    /// Whether the device is the session's and its time counts.
    pub(super) fn is_allocated(self) -> bool {
        matches!(self, Self::Read | Self::Unread(_) | Self::Missing(_))
    }

    /// Whether the session should have the device and the driver does not show it.
    pub(super) fn is_absent(self) -> bool {
        matches!(self, Self::Missing(_) | Self::NeverVisible(_))
    }

    /// Why the device was not read; none if it was read or did not have to be.
    pub(super) fn unavailable_reason(self) -> Option<UnavailableReason> {
        match self {
            Self::Unread(reason) | Self::Missing(reason) | Self::NeverVisible(reason) => Some(reason),
            Self::ShownOnly { unread } => unread,
            Self::Read | Self::Released => None,
        }
    }

    /// The state after a poll in which the driver did not answer.
    pub(super) fn without_driver(self, reason: UnavailableReason) -> Self {
        match self {
            state if state.is_allocated() => Self::Unread(reason),
            Self::ShownOnly { .. } => Self::ShownOnly { unread: Some(reason) },
            state => state,
        }
    }
}
