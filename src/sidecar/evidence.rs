//! Collects the evidence from the pod's files and processes that [`super::attribution`] uses. Also reads the use of a device by
//! the session's own processes.

mod failures;
mod memory;

use std::time::Duration;

pub(super) use self::failures::Failures;
use self::memory::{EvidenceMemory, PodFacts, ProcessReading};
use super::{
    attribution::{Evidence, EvidenceSource, NotApplicable, ProcessEvidence, UnavailableReason},
    config::Config,
    observation::ExpectedDevices,
    pod_files::{NoProcessEvidence, PodFiles},
};
use crate::{
    gpu::{Driver, Fault, Process},
    runtime::libc,
    sampling::{
        driver_clock,
        processes::{self, OwnUsage, SampleWindow},
        report::{ReportError, SessionReport},
    },
};

/// Collects the evidence in one container.
#[derive(Debug)]
pub(super) struct EvidenceCollector {
    interval: Duration,
    files: PodFiles,
    memory: EvidenceMemory,
    failures: Failures,
}

// === impl EvidenceCollector ===

impl EvidenceCollector {
    /// Creates a collector for a container with these files. It reads nothing yet.
    pub(super) fn new(config: &Config, files: PodFiles) -> Self {
        let &Config { request, claim, node_totals, interval, .. } = config;
        let memory = EvidenceMemory::new(PodFacts { request, claim, node_totals });
        Self { interval, files, memory, failures: Failures::default() }
    }

    /// Begins a poll: reads the pod's files again, because annotations change while the pod runs. Returns the reason if the
    /// driver is not needed, because no device can be attributed.
    pub(super) fn begin_poll(&mut self) -> Option<UnavailableReason> {
        self.failures.begin_poll();
        let annotations = self.failures.record(EvidenceSource::Annotations, self.files.annotations());
        let has_claim = self.memory.has_claim();
        let metadata = if has_claim { self.files.claimed_devices() } else { Ok(vec![]) };
        let metadata = self.failures.record(EvidenceSource::ClaimMetadata, metadata);
        self.memory.record_files(annotations, metadata);
        self.memory.reason_without_driver()
    }

    /// The report of the node agent, or why there is none that can be used.
    pub(super) fn node_report(&mut self) -> Result<SessionReport, NotApplicable> {
        let file = self.failures.record(EvidenceSource::NodeAgent, self.files.node_report());
        let bytes = file.ok_or(NotApplicable::Unreadable)?.ok_or(NotApplicable::NotGiven)?;
        match SessionReport::read(&bytes, libc::since_boot().as_micros() as u64) {
            Ok(report) => Ok(report),
            Err(ReportError::Stale(_)) => Err(NotApplicable::Stale),
            Err(error) => {
                let invalid = self.files.invalid_node_report(error);
                self.failures.record::<()>(EvidenceSource::NodeAgent, Err(invalid));
                Err(NotApplicable::NotUnderstood)
            }
        }
    }

    /// Inode of the node agent's file; none if there is no file.
    pub(super) fn node_report_inode(&self) -> Option<u64> {
        self.files.node_report_inode()
    }

    /// The evidence that could not be read.
    pub(super) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// The evidence of this poll that needs no process lists.
    pub(super) fn evidence<'e>(&'e self, driver: &'e Driver<'_>) -> Evidence<'e> {
        self.memory.evidence(driver.devices(), driver.without_uuid().len())
    }

    /// Collects the evidence of the pod's processes. Process lists are the slowest calls of the driver.
    pub(super) fn process_evidence(&mut self, driver: &mut Driver<'_>) -> ProcessEvidence {
        let with_processes = self.devices_with_processes(driver);
        let in_environments = self.files.devices_in_environments();
        let in_environments = in_environments.map_err(|why| self.reason(why));
        let reading = ProcessReading { with_processes, in_environments };
        self.memory.record_processes(reading, driver.devices())
    }

    /// Evidence of the devices that the pod should have, visible or not.
    pub(super) fn expected(&self) -> ExpectedDevices<'_> {
        self.memory.expected()
    }

    /// Reads the use of the device at `index` by the session's own processes. Returns none if the process lists cannot be read or
    /// may contain processes of other pods.
    ///
    /// Utilisation is read only if the device `is_shared`. `last` is the time of the newest process sample that is already
    /// counted. `now` is the time of the device's newest sample. Both are in microseconds of the driver's clock. If the device
    /// has no samples, it is unknown which clock the driver uses.
    ///
    /// # Errors
    /// Fails if the device or the driver is lost.
    pub(super) fn own_usage(
        &mut self,
        driver: &mut Driver<'_>,
        index: usize,
        is_shared: bool,
        last: u64,
        now: Option<u64>,
    ) -> Result<Option<OwnUsage>, Fault> {
        if self.check_process_lists(driver).is_err() {
            return Ok(None);
        }
        let Some(listed) = driver.processes(index)? else { return Ok(None) };
        let Ok(Some(listed)) = self.own_processes(driver, index, listed) else { return Ok(None) };
        let window = SampleWindow::new(last, driver_clock::clocks(now), self.interval);
        let utilization = if is_shared { driver.process_utilization(index, window.since)? } else { None };
        let own = processes::own_usage(&listed, utilization.as_deref(), window);
        Ok(Some(OwnUsage { newest_sample: own.newest_sample.max(window.since), ..own }))
    }

    /// UUIDs of the devices that have processes of the pod now.
    fn devices_with_processes(&mut self, driver: &mut Driver<'_>) -> Result<Vec<String>, NotApplicable> {
        self.check_process_lists(driver)?;
        let mut found = vec![];
        let mut failure = None;
        for index in 0..driver.devices().len() {
            if driver.devices()[index].mig_enabled {
                continue;
            }
            // If the driver cannot return the list, the device counts as a device without processes now. It stays attributed if
            // it had processes of the pod at an earlier poll.
            let Ok(Some(listed)) = driver.processes(index) else { continue };
            match self.own_processes(driver, index, listed) {
                Ok(Some(listed)) if listed.is_empty() => {}
                Ok(Some(_)) => found.push(driver.devices()[index].uuid.clone()),
                Ok(None) => failure = Some(NotApplicable::Implausible),
                Err(reason) => failure = Some(reason),
            }
        }
        // Until a poll has seen a process of the pod, one unreliable list means that the other lists may be unreliable too.
        let is_first = self.memory.with_processes().is_empty();
        failure.filter(|_| is_first).map_or(Ok(found), Err)
    }

    /// Checks that the driver's process lists can be compared with the pod's processes. Fails with the reason why not.
    fn check_process_lists(&mut self, driver: &Driver<'_>) -> Result<(), NotApplicable> {
        self.files.check_pid_namespace().map_err(|why| self.reason(why))?;
        let is_reliable = processes::are_lists_reliable(driver.versions().driver.as_deref());
        if is_reliable { Ok(()) } else { Err(NotApplicable::DriverTooOld) }
    }

    /// The listed processes, if all of them are the pod's; otherwise none. A process can end after the driver has listed it, so
    /// the list is read once more; the second list does not contain such a process.
    fn own_processes(
        &mut self,
        driver: &mut Driver<'_>,
        index: usize,
        listed: Vec<Process>,
    ) -> Result<Option<Vec<Process>>, NotApplicable> {
        if self.are_own(&listed)? {
            return Ok(Some(listed));
        }
        let Ok(Some(listed)) = driver.reread_processes(index) else { return Ok(None) };
        Ok(self.are_own(&listed)?.then_some(listed))
    }

    fn are_own(&mut self, listed: &[Process]) -> Result<bool, NotApplicable> {
        let are_own = processes::all_exist(listed, |pid| self.files.has_process(pid));
        are_own.map_err(|unreadable| self.reason(unreadable))
    }

    /// Why the processes give no evidence. Records a file that cannot be read.
    fn reason(&mut self, why: impl Into<NoProcessEvidence>) -> NotApplicable {
        match why.into() {
            NoProcessEvidence::Absent(reason) => reason,
            NoProcessEvidence::Unreadable(unreadable) => {
                self.failures.record::<()>(EvidenceSource::Processes, Err(unreadable));
                NotApplicable::Unreadable
            }
        }
    }
}
