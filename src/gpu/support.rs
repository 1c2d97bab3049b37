//! Remembers the calls that a device does not support. Such a call is made only once after each opening of the library, because
//! many cards and drivers lack several values, and each call takes locks of the driver.

use super::fault::{Call, Fault};

/// The unsupported calls, each with the index of the device.
#[derive(Debug, Default)]
pub(super) struct Support(Vec<(usize, Call)>);

// === impl Support ===

impl Support {
    /// Whether the call must be made: the device at `index` has not rejected it as unsupported.
    pub(super) fn may_support(&self, index: usize, call: Call) -> bool {
        !self.0.contains(&(index, call))
    }

    /// Remembers the call if its failure is permanent.
    pub(super) fn record(&mut self, index: usize, fault: Fault) {
        if fault.is_permanent() && self.may_support(index, fault.call) {
            self.0.push((index, fault.call));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::fault::Code;

    #[test]
    fn permanent_failures_are_remembered_for_their_device_only() {
        let mut support = Support::default();
        support.record(0, Fault { call: Call::Energy, code: Code::NotSupported });
        support.record(0, Fault { call: Call::Power, code: Code::Timeout });
        assert!(!support.may_support(0, Call::Energy));
        assert!(support.may_support(0, Call::Power));
        assert!(support.may_support(1, Call::Energy));
    }
}
