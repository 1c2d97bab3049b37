//! Values that a reading gives, by scope.

use crate::{
    runtime::vocabulary::vocabulary,
    sampling::scope::{ByScope, Scope},
};

vocabulary! {
    /// Kind of a value that was out of range and was clamped, and the value of the label `value`.
    pub enum Clamp {
        /// A ratio outside 0 to 1.
        Utilization = "utilization",
        /// An energy counter that fell, or rose faster than any card can use energy.
        Energy = "energy",
        /// Used memory above the total.
        Memory = "memory",
    }
}

/// Scopes of one device's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceScopes {
    /// Scope of the values of the device itself.
    pub device: Scope,
    /// Scope of the values that exist only for the entire card.
    pub card: Scope,
}

/// Values of one reading by scope; ratios are clamped to 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopedValues {
    /// Mean utilisation since the last reading.
    pub utilization: ByScope<f64>,
    /// Bytes of the frame buffer in use.
    pub memory: ByScope<u64>,
    /// Part of the encoder's time.
    pub encoder: ByScope<f64>,
    /// Part of the decoder's time.
    pub decoder: ByScope<f64>,
}
