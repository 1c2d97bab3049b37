//! Remembers which calls each device supports. A call that a device does not support or the driver refuses is made only once.
//! Many cards and drivers lack several values, and each call takes locks of the driver.

use super::fault::{Call, Fault};

/// What the calls have shown, by UUID of the device.
#[derive(Debug, Default)]
pub(super) struct Support {
    permanent: Vec<(String, Fault)>,
    with_newer_memory: Vec<String>,
}

// === impl Support ===

impl Support {
    /// Whether the call must be made: it has not failed permanently for the device.
    pub(super) fn may_support(&self, uuid: &str, call: Call) -> bool {
        self.of(uuid).all(|fault| fault.call != call)
    }

    /// Remembers the call if its failure is permanent.
    pub(super) fn record(&mut self, uuid: &str, fault: Fault) {
        if fault.is_permanent() && self.may_support(uuid, fault.call) {
            self.permanent.push((uuid.to_owned(), fault));
        }
    }

    /// The first refusal of a call for the device; none if the driver has refused none.
    pub(super) fn refusal(&self, uuid: &str) -> Option<Fault> {
        self.of(uuid).find(|fault| fault.is_refusal())
    }

    /// Whether the newer call for memory has succeeded for the device.
    pub(super) fn has_newer_memory(&self, uuid: &str) -> bool {
        self.with_newer_memory.iter().any(|other| other == uuid)
    }

    /// Remembers that the newer call for memory has succeeded.
    pub(super) fn record_newer_memory(&mut self, uuid: &str) {
        if !self.has_newer_memory(uuid) {
            self.with_newer_memory.push(uuid.to_owned());
        }
    }

    /// Forgets the other devices. A driver that gives new UUIDs at each opening must not fill the memory.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.permanent.retain(|(uuid, _)| is_kept(uuid));
        self.with_newer_memory.retain(|uuid| is_kept(uuid));
    }

    fn of(&self, uuid: &str) -> impl Iterator<Item = Fault> {
        self.permanent.iter().filter(move |(device, _)| device == uuid).map(|(_, fault)| *fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::fault::Code;

    #[test]
    fn permanent_failures_are_remembered_for_their_device_only() {
        let mut support = Support::default();
        support.record("A", Fault { call: Call::Energy, code: Code::NotSupported });
        assert_eq!(support.refusal("A"), None);
        let refused = Fault { call: Call::Encoder, code: Code::NoPermission };
        support.record("A", refused);
        support.record("A", Fault { call: Call::Power, code: Code::Timeout });
        assert!(!support.may_support("A", Call::Encoder));
        assert_eq!((support.refusal("A"), support.refusal("B")), (Some(refused), None));
        assert!(!support.may_support("A", Call::Energy));
        assert!(support.may_support("A", Call::Power));
        assert!(support.may_support("B", Call::Energy));
    }

    #[test]
    fn devices_that_are_not_visible_any_more_are_forgotten() {
        let mut support = Support::default();
        for uuid in ["A", "B"] {
            support.record(uuid, Fault { call: Call::Energy, code: Code::NotSupported });
            support.record_newer_memory(uuid);
        }
        support.retain(|uuid| uuid == "B");
        assert!(support.may_support("A", Call::Energy) && !support.has_newer_memory("A"));
        assert!(!support.may_support("B", Call::Energy) && support.has_newer_memory("B"));
    }
}
