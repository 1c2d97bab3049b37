//! The values of a reading, by scope.

use crate::sampling::scope::{ByScope, Scope};

/// Scopes of one device's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceScopes {
    /// Scope of the values of the device itself.
    pub device: Scope,
    /// Scope of the values that NVML gives only for the entire card, such as power.
    pub card: Scope,
}

/// Values of one reading by scope; ratios are 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopedValues {
    /// Mean utilisation since the last reading, 0 to 1.
    pub utilization: ByScope<f64>,
    /// Bytes of the frame buffer in use.
    pub memory: ByScope<u64>,
    /// Utilisation of the encoder, 0 to 1.
    pub encoder: ByScope<f64>,
    /// Utilisation of the decoder, 0 to 1.
    pub decoder: ByScope<f64>,
}
