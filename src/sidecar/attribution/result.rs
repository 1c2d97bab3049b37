//! The result of attribution.

use super::vocabulary::{Confidence, NotApplicable, Sharing, Strategy, UnavailableReason};
use crate::{gpu::Device, sampling::scope::Scope};

/// Result of one attribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributionResult {
    /// Attribution by the first strategy that applies, or why no device is the session's.
    pub outcome: Result<Attribution, UnavailableReason>,
    /// The strategies tried before it, each with the reason why it does not apply.
    pub not_applicable: Vec<(Strategy, NotApplicable)>,
}

/// The session's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The strategy that applies.
    pub strategy: Strategy,
    /// How far the strategy can be trusted.
    pub confidence: Confidence,
    /// The devices, in the driver's order.
    pub devices: Vec<SessionDevice>,
}

/// A device of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionDevice {
    /// Index in the visible devices.
    pub index: usize,
    /// How the device is shared.
    pub sharing: Sharing,
    /// Scope of the device's values.
    pub scope: Scope,
}

// === impl Attribution ===

impl Attribution {
    /// The widest scope of the devices.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.devices.iter().map(|device| device.scope).max().unwrap_or(Scope::Session)
    }
}

// === impl SessionDevice ===

impl SessionDevice {
    /// Scope of a value that exists only for the entire card. If the device is a slice, other slices contribute to it.
    #[must_use]
    pub fn card_scope(&self, device: &Device) -> Scope {
        if device.slice.is_some() { self.scope.max(Scope::Device) } else { self.scope }
    }
}
