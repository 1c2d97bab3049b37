//! How a device is shared.

use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// How a device is shared; values of the label `sharing`.
    pub enum Sharing {
        /// Not shared.
        Exclusive = "exclusive",
        /// A slice of a card; the slice is not shared.
        Mig = "mig",
        /// Shared with other pods; one pod uses the device at a time.
        TimeSlicing = "time-slicing",
        /// Shared with other pods; several pods use the device at the same time.
        Mps = "mps",
        /// The evidence does not show whether the device is shared.
        Unknown = "unknown",
    }
}

// === impl Sharing ===

impl Sharing {
    /// Whether no other pod has the device.
    #[must_use]
    pub fn is_exclusive(self) -> bool {
        matches!(self, Self::Exclusive | Self::Mig)
    }

    /// The value of the annotation `vdi-metrics.io/gpu-sharing`. With an invalid value the devices may be shared.
    #[must_use]
    pub fn of_annotation(value: &str) -> Self {
        Self::parse(value).unwrap_or(Self::Unknown)
    }
}
