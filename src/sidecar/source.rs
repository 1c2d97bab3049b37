//! The source of observations: the driver in this container.

use std::time::Instant;

use super::{
    attribution::{self, AttributionResult, AttributionStep, SessionDevice},
    evidence::EvidenceCollector,
    observation::{DeviceView, Observation},
};
use crate::{
    gpu::{Driver, Fault},
    sampling::{
        counters::NewestSamples,
        observation::{DeviceObservation, DeviceValues},
        scope::Scope,
    },
};

/// Observes the driver of this container.
#[derive(Debug)]
pub(super) struct LocalDriver {
    evidence: EvidenceCollector,
}

// === impl LocalDriver ===

impl LocalDriver {
    /// A source with this evidence.
    pub(super) fn new(evidence: EvidenceCollector) -> Self {
        Self { evidence }
    }

    /// Attributes the visible devices and reads the session's devices. `newest` gives the newest samples of a device so far.
    pub(super) fn observe<'o>(
        &'o mut self,
        driver: &'o mut Driver<'_>,
        newest: impl Fn(&str, Scope) -> NewestSamples,
    ) -> Observation<'o> {
        self.evidence.read_files();
        let attribution = self.attribute(driver);
        let at = Instant::now();
        let devices = attribution.outcome.as_ref().map_or(&[][..], |attribution| &attribution.devices);
        let readings = devices.iter().map(|device| self.read(driver, device, &newest)).collect();
        Observation {
            at,
            view: DeviceView {
                visible: driver.devices(),
                without_uuid: driver.without_uuid(),
                expected: self.evidence.expected(),
            },
            attribution,
            readings,
        }
    }

    fn attribute(&mut self, driver: &mut Driver<'_>) -> AttributionResult {
        match attribution::decide(&self.evidence.evidence(driver)) {
            AttributionStep::Final(result) => result,
            AttributionStep::NeedsProcesses(undecided) => {
                let processes = self.evidence.process_evidence(driver);
                undecided.decide(&self.evidence.evidence(driver), &processes)
            }
        }
    }

    fn read(
        &self,
        driver: &mut Driver<'_>,
        device: &SessionDevice,
        newest: impl Fn(&str, Scope) -> NewestSamples,
    ) -> DeviceObservation {
        let uuid = driver.devices()[device.index].uuid.clone();
        let values = self.values(driver, device, newest(&uuid, device.scope));
        DeviceObservation { uuid, at: Instant::now(), values }
    }

    fn values(
        &self,
        driver: &mut Driver<'_>,
        device: &SessionDevice,
        newest: NewestSamples,
    ) -> Result<DeviceValues, Fault> {
        let earlier_faults = driver.faults().len();
        let reading = driver.read(device.index, newest.device)?;
        let is_shared = device.scope != Scope::Session;
        let own = self.evidence.own_usage(driver, device.index, is_shared, newest.processes)?;
        let is_incomplete = driver.faults()[earlier_faults..].iter().any(|fault| !fault.is_permanent());
        Ok(DeviceValues { reading, own, is_incomplete })
    }
}
