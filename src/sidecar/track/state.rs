//! The state of one device.

use crate::{gpu::ReopenReason, sidecar::attribution::UnavailableReason};

/// State of one device for the session, after a poll.
///
/// | state | meaning | series of the device | seconds |
/// |---|---|---|---|
/// | `Read` | The device belongs to the session and was read. | all values, all counters | allocated; busy according to its samples |
/// | `Unread` | The device belongs to the session and could not be read: a call failed, or the driver does not answer. | counters; its reason | allocated, all of them unsampled |
/// | `Missing` | The session had the device, should still have it, and the driver does not show it. | counters; its reason | allocated, all of them unsampled |
/// | `ShownOnly` | No evidence shows which pod has the device. It is exposed for the totals of the node. | all values, counters with the scope `node`; its reason if it could not be read | busy, none allocated |
/// | `Released` | The device was in one of the states above and does not belong to the session any more. | counters, which stay as they are | none |
/// | `NeverVisible` | The session never had the device and the driver does not show it. Either the claim or the annotation names the device, or the claim names no device and the driver has a device without a UUID. | its reason | none |
///
/// A reason is exposed as `vdi_session_gpu_unavailable_info{reason,gpu}`. If no device could be read, one reason is exposed for
/// the session, without `gpu`. If a released device is allocated again, its counters continue from their last values.
///
/// If the driver loses a device, the failed call makes it `Unread`. After the library is reopened, the driver usually
/// does not show the device, so it is `Missing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceState {
    Read,
    Unread(UnavailableReason),
    Missing(UnavailableReason),
    ShownOnly { unread: Option<UnavailableReason> },
    Released,
    NeverVisible(UnavailableReason),
}

/// UUIDs of all devices with their states. The order is: missing, attributed (in the driver's order), never visible, released.
/// The order matters, because the first reason is published if no device could be read. A device whose UUID the driver cannot
/// give has an empty UUID.
pub(super) type DeviceStates = Vec<(String, DeviceState)>;

// === impl DeviceState ===

impl DeviceState {
    /// Whether the device is allocated to the session, so that its time counts.
    pub(super) fn is_allocated(self) -> bool {
        matches!(self, Self::Read | Self::Unread(_) | Self::Missing(_))
    }

    /// Whether the device has an account: its time or its work is counted.
    pub(super) fn is_counted(self) -> bool {
        self.is_allocated() || matches!(self, Self::ShownOnly { .. })
    }

    /// Whether the session should have the device and the driver does not show it.
    pub(super) fn is_absent(self) -> bool {
        matches!(self, Self::Missing(_) | Self::NeverVisible(_))
    }

    /// Why the device was not read; none if it was read or is released.
    pub(super) fn unavailable_reason(self) -> Option<UnavailableReason> {
        match self {
            Self::Unread(reason) | Self::Missing(reason) | Self::NeverVisible(reason) => Some(reason),
            Self::ShownOnly { unread } => unread,
            Self::Read | Self::Released => None,
        }
    }

    /// Why the library must be opened again to read the device; none if it was read or is released.
    pub(super) fn reopen_reason(self) -> Option<ReopenReason> {
        match self.unavailable_reason()? {
            _ if self.is_absent() => Some(ReopenReason::NotVisible),
            UnavailableReason::GpuLost => Some(ReopenReason::DeviceLost),
            _ => Some(ReopenReason::NoValues),
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
