//! Calls that a device does not support. Such a call is made once after each opening of the library: cards and drivers
//! lack many values, and each call takes the driver's locks.

use super::fault::{Call, Fault};

/// The unsupported calls, each with the index of the device.
#[derive(Debug, Default)]
pub(super) struct Support(Vec<(usize, Call)>);

// === impl Support ===

impl Support {
    /// Whether the device at `index` may support the call.
    pub(super) fn may_support(&self, index: usize, call: Call) -> bool {
        !self.0.contains(&(index, call))
    }

    /// Remembers a failure that will be the same at every poll.
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
    fn only_permanent_failures_are_remembered_and_only_for_their_device() {
        let mut support = Support::default();
        support.record(0, Fault { call: Call::Energy, code: Code::NotSupported });
        support.record(0, Fault { call: Call::Power, code: Code::Timeout });
        assert!(!support.may_support(0, Call::Energy));
        assert!(support.may_support(0, Call::Power));
        assert!(support.may_support(1, Call::Energy));
    }
}
