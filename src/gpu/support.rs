//! Remembers the calls that a device does not support or the driver refuses. Such a call is made only once after each opening of the library, because
//! many cards and drivers lack several values, and each call takes locks of the driver.

use super::fault::{Call, Fault};

/// The permanent failures, each with the index of the device.
#[derive(Debug, Default)]
pub(super) struct Support(Vec<(usize, Fault)>);

// === impl Support ===

impl Support {
    /// Whether the call must be made: it has not failed permanently for the device at `index`.
    pub(super) fn may_support(&self, index: usize, call: Call) -> bool {
        self.of(index).all(|fault| fault.call != call)
    }

    /// Remembers the call if its failure is permanent.
    pub(super) fn record(&mut self, index: usize, fault: Fault) {
        if fault.is_permanent() && self.may_support(index, fault.call) {
            self.0.push((index, fault));
        }
    }

    /// The first refusal of a call for the device at `index`; none if the driver has refused none.
    pub(super) fn refusal(&self, index: usize) -> Option<Fault> {
        self.of(index).find(|fault| fault.is_refusal())
    }

    fn of(&self, index: usize) -> impl Iterator<Item = Fault> + '_ {
        self.0.iter().filter(move |(device, _)| *device == index).map(|(_, fault)| *fault)
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
        assert_eq!(support.refusal(0), None);
        let refused = Fault { call: Call::Encoder, code: Code::NoPermission };
        support.record(0, refused);
        support.record(0, Fault { call: Call::Power, code: Code::Timeout });
        assert!(!support.may_support(0, Call::Encoder));
        assert_eq!((support.refusal(0), support.refusal(1)), (Some(refused), None));
        assert!(!support.may_support(0, Call::Energy));
        assert!(support.may_support(0, Call::Power));
        assert!(support.may_support(1, Call::Energy));
    }
}
