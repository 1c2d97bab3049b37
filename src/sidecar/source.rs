//! The source of observations: the report of the node agent, or the NVIDIA driver as this container sees it.

mod node_agent;

use std::time::Instant;

pub(super) use self::node_agent::NodeAgent;
use super::{
    attribution::{
        self, AttributionResult, AttributionStep, NotApplicable, SessionDevice, Sharing, Strategy,
    },
    evidence::{EvidenceCollector, Failures},
    observation::{DeviceView, ExpectedDevices, Observation},
};
use crate::{
    gpu::{Driver, Fault, Versions, XidEvent},
    sampling::{
        observation::{DeviceObservation, DeviceValues},
        scope::Scope,
    },
};

/// Makes observations from the node agent's reports, or from the driver and the evidence of this container.
#[derive(Debug)]
pub(super) struct ObservationSource {
    evidence: EvidenceCollector,
    node_agent: NodeAgent,
}

// === impl ObservationSource ===

impl ObservationSource {
    /// A source that uses this evidence collector.
    pub(super) fn new(evidence: EvidenceCollector) -> Self {
        Self { evidence, node_agent: NodeAgent::default() }
    }

    /// Begins a poll: reads the pod's files. Returns the observation of this poll if the driver of this container is not needed:
    /// the node agent has made the observation, or no device can be attributed whatever the driver shows.
    pub(super) fn begin_poll(&mut self) -> Option<Observation<'_>> {
        let reason = self.evidence.begin_poll();
        let inode = self.evidence.node_report_inode();
        self.node_agent.record(self.evidence.node_report(), inode);
        if self.node_agent.reason().is_none() {
            return self.node_agent.observation();
        }
        let mut observation = Observation::without_driver(reason?, Instant::now());
        self.add_reason_of_node_agent(&mut observation.attribution);
        Some(observation)
    }

    /// Whether the node agent has written another report since the last poll.
    pub(super) fn has_new_report(&self) -> bool {
        self.node_agent.is_another(self.evidence.node_report_inode())
    }

    /// The Xid faults that the node agent has reported and that were not returned before.
    pub(super) fn take_xids_of_node_agent(&mut self) -> Vec<XidEvent> {
        self.node_agent.take_xids()
    }

    /// Versions of the driver that the node agent uses; none without a report.
    pub(super) fn versions_of_node_agent(&self) -> Option<&Versions> {
        self.node_agent.versions()
    }

    /// UUIDs of the devices that a process of the session uses and that are not assigned to the session, according to the node agent.
    pub(super) fn unassigned(&self) -> Vec<String> {
        self.node_agent.unassigned()
    }

    /// Whether the node agent has reported before, and its report cannot be used now.
    pub(super) fn has_lost_node_agent(&self) -> bool {
        self.node_agent.reason().is_some_and(|reason| reason != NotApplicable::NotGiven)
    }

    /// Why the node agent's report cannot be used; none if it can.
    pub(super) fn reason_of_node_agent(&self) -> Option<(Strategy, NotApplicable)> {
        self.node_agent.reason().map(|reason| (Strategy::NodeAgent, reason))
    }

    fn add_reason_of_node_agent(&self, result: &mut AttributionResult) {
        if let Some(reason) = self.reason_of_node_agent() {
            result.not_applicable.insert(0, reason);
        }
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
        let mut attribution = self.attribute(driver);
        self.add_reason_of_node_agent(&mut attribution);
        let at = Instant::now();
        let devices = attribution.outcome.as_ref().map_or(&[][..], |attribution| &attribution.devices);
        let readings = devices.iter().map(|device| self.read(driver, device, &process_sample)).collect();
        Observation {
            at,
            interval: None,
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
        let is_incomplete = driver.has_failed_since(earlier_faults);
        Ok(DeviceValues { reading, own, is_incomplete })
    }
}
