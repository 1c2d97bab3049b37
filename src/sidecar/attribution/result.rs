//! The result of attribution.

use super::vocabulary::{Confidence, NotApplicable, Strategy, UnavailableReason};
use crate::{
    gpu::Device,
    sampling::{scope::Scope, sharing::Sharing},
};

/// Result of one attribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributionResult {
    /// Attribution by the first strategy that applies, or why no device can be attributed to the session.
    pub outcome: Result<Attribution, UnavailableReason>,
    /// The strategies that were tried before, each with the reason why it does not apply.
    pub not_applicable: Vec<(Strategy, NotApplicable)>,
}

/// The session's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The strategy that applies.
    pub strategy: Strategy,
    /// How reliable the attribution is.
    pub confidence: Confidence,
    /// The devices, in the driver's order.
    pub devices: Vec<SessionDevice>,
    /// Whether the session has more devices than [`Self::devices`], which is limited.
    pub has_more: bool,
}

/// A device of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionDevice {
    /// Index in the list of visible devices.
    pub index: usize,
    /// How the device is shared.
    pub sharing: Sharing,
    /// Scope of the device's values.
    pub scope: Scope,
}

// === impl Attribution ===

impl Attribution {
    /// The widest scope of the devices; `Session` without devices.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.devices.iter().map(|device| device.scope).max().unwrap_or(Scope::Session)
    }
}

// === impl SessionDevice ===

impl SessionDevice {
    /// Scope of a value that NVML gives only for the entire card, such as power. For a slice it is at least `Device`, because
    /// other slices contribute to the value.
    #[must_use]
    pub fn card_scope(&self, device: &Device) -> Scope {
        if device.slice.is_some() { self.scope.max(Scope::Device) } else { self.scope }
    }
}
