//! The time in which a device was allocated to a session and not used, by reason.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// Why an allocated device counts as not used; values of the label `reason`.
    pub enum IdleReason {
        /// No viewer was connected to the desktop, whether the device worked or not.
        NobodyConnected = "nobody_connected",
        /// A viewer was connected, and the session did not use the device.
        ConnectedUnused = "connected_unused",
    }
}

/// Seconds in which a device was allocated and not used, since the program started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct IdleSeconds {
    nobody_connected: f64,
    connected_unused: f64,
}

/// Below this mean utilisation a device was not used. NVML gives integer percents (`nvmlUtilization_t`), so a mean below 1 % is
/// less than the smallest value of one sample that shows work.
pub(super) const UNUSED_BELOW: f64 = 0.01;

// === impl IdleSeconds ===

impl IdleSeconds {
    /// The seconds of this reason.
    #[must_use]
    pub fn get(&self, reason: IdleReason) -> f64 {
        match reason {
            IdleReason::NobodyConnected => self.nobody_connected,
            IdleReason::ConnectedUnused => self.connected_unused,
        }
    }

    /// Adds time in which it is known whether a viewer was connected and whether the session used the device.
    pub(super) fn add(&mut self, seconds: f64, has_viewer: bool, is_used: bool) {
        match (has_viewer, is_used) {
            (false, _) => self.nobody_connected += seconds,
            (true, false) => self.connected_unused += seconds,
            (true, true) => {}
        }
    }
}
