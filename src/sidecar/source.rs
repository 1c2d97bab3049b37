//! The source of observations: the NVIDIA driver, as this container sees it.

use std::time::Instant;

use super::{
    attribution::{self, AttributionResult, AttributionStep, SessionDevice, Sharing},
    evidence::{EvidenceCollector, Failures},
    observation::{DeviceView, ExpectedDevices, Observation},
};
use crate::{
    gpu::{Driver, Fault},
    sampling::{
        observation::{DeviceObservation, DeviceValues},
        scope::Scope,
    },
};

/// Makes observations from the driver and the evidence of this container.
#[derive(Debug)]
pub(super) struct LocalDriver {
    evidence: EvidenceCollector,
}

// === impl LocalDriver ===

impl LocalDriver {
    /// A source that uses this evidence collector.
    pub(super) fn new(evidence: EvidenceCollector) -> Self {
        Self { evidence }
    }

    /// Begins a poll: reads the pod's files. If the driver is not needed, because no device can be attributed, returns the
    /// observation of this poll.
    pub(super) fn begin_poll(&mut self) -> Option<Observation<'static>> {
        let reason = self.evidence.begin_poll()?;
        Some(Observation::without_driver(reason, Instant::now()))
    }

    /// Evidence of the devices that the pod should have, visible or not.
    pub(super) fn expected(&self) -> ExpectedDevices<'_> {
        self.evidence.expected()
    }

    /// The evidence that could not be read.
    pub(super) fn failures(&self) -> &Failures {
        self.evidence.failures()
    }

    /// Attributes the visible devices and reads the session's devices. `process_sample` takes a UUID and a scope, and returns the
    /// time of the newest process sample that is already counted for this device.
    pub(super) fn observe<'o>(
        &'o mut self,
        driver: &'o mut Driver<'_>,
        process_sample: impl Fn(&str, Scope) -> u64,
    ) -> Observation<'o> {
        let attribution = self.attribute(driver);
        let at = Instant::now();
        let devices = attribution.outcome.as_ref().map_or(&[][..], |attribution| &attribution.devices);
        let readings = devices.iter().map(|device| self.read(driver, device, &process_sample)).collect();
        Observation {
            at,
            view: DeviceView {
                visible: driver.devices(),
                without_uuid: driver.without_uuid(),
                reopen: driver.reopen_reason(),
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
        &mut self,
        driver: &mut Driver<'_>,
        device: &SessionDevice,
        process_sample: impl Fn(&str, Scope) -> u64,
    ) -> DeviceObservation {
        let uuid = driver.devices()[device.index].uuid.clone();
        let values = self.values(driver, device, process_sample(&uuid, device.scope));
        DeviceObservation { uuid, at: Instant::now(), values }
    }

    fn values(
        &mut self,
        driver: &mut Driver<'_>,
        device: &SessionDevice,
        process_sample: u64,
    ) -> Result<DeviceValues, Fault> {
        let earlier_faults = driver.faults().len();
        let reading = driver.read(device.index)?;
        let is_shared = device.scope != Scope::Session;
        let now = reading.newest_sample();
        let own = self.evidence.own_usage(driver, device.index, is_shared, process_sample, now)?;
        // Only if the compute mode of a device shows MPS, its list of MPS processes is read. Otherwise MPS processes are in no
        // list, so an empty list does not prove that there is no process.
        let is_unlisted = device.sharing == Sharing::Mps && !driver.devices()[device.index].exclusive_process;
        let own = own.filter(|own| !is_unlisted || !own.processes.is_empty());
        let is_incomplete = driver.faults()[earlier_faults..].iter().any(|fault| !fault.is_absence());
        Ok(DeviceValues { reading, own, is_incomplete })
    }
}
