//! What a device does not support is asked for once: values that a card or a driver has not got are many, and each
//! question takes the driver's locks.

use super::{Call, Fault};

/// The questions that a device has answered with never.
#[derive(Debug, Default)]
pub(super) struct Support(Vec<(usize, Call)>);

// === impl Support ===

impl Support {
    /// Whether it is worth asking the device at this place in the list.
    pub(super) fn is_open(&self, device: usize, call: Call) -> bool {
        !self.0.contains(&(device, call))
    }

    /// Remembers a failure that will be the same at every poll.
    pub(super) fn learn(&mut self, device: usize, fault: Fault) {
        if fault.is_for_good() && self.is_open(device, fault.call) {
            self.0.push((device, fault.call));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Code;

    #[test]
    fn only_what_stays_is_remembered_and_only_for_that_device() {
        let mut support = Support::default();
        support.learn(0, Fault { call: Call::Energy, code: Code::NotSupported });
        support.learn(0, Fault { call: Call::Power, code: Code::Timeout });
        assert!(!support.is_open(0, Call::Energy));
        assert!(support.is_open(0, Call::Power));
        assert!(support.is_open(1, Call::Energy));
    }
}
