//! Collects the evidence from the pod's files and processes that [`super::attribution`] uses. Also reads the use of a device by
//! the session's own processes.

use std::time::Duration;

use super::{
    attribution::{
        ClaimKind, EnvironmentDevices, Evidence, NotApplicable, ProcessEvidence, Processes, Sharing,
    },
    config::Config,
    observation::ExpectedDevices,
    pod_files::PodFiles,
};
use crate::{
    gpu::{
        Driver, Fault, Process,
        id::{self, Id},
    },
    runtime::clock,
    sampling::processes::{self, OwnUsage, SampleWindow},
};

/// Collects the evidence in one container, and remembers evidence of earlier polls.
#[derive(Debug)]
pub(super) struct EvidenceCollector {
    claim: Option<ClaimKind>,
    node_totals: bool,
    interval: Duration,
    files: PodFiles,
    /// Evidence in the files at this poll.
    contents: FileEvidence,
    /// IDs in the claim's metadata; without a claim, IDs in the annotation.
    named: Vec<Id>,
    /// UUIDs of the devices that had processes of the pod at this or an earlier poll.
    with_processes: Vec<String>,
    /// The newest list of devices in the desktop's environment; none if no process has had one.
    environment: Option<String>,
}

/// Evidence in the pod's files.
#[derive(Debug, Default)]
struct FileEvidence {
    annotation: Option<String>,
    sharing: Option<Sharing>,
    metadata: Vec<String>,
}

// === impl EvidenceCollector ===

impl EvidenceCollector {
    /// Creates a collector for a container with these files. It reads nothing yet.
    pub(super) fn new(config: &Config, files: PodFiles) -> Self {
        let &Config { claim, node_totals, interval, .. } = config;
        Self {
            claim,
            node_totals,
            interval,
            files,
            contents: FileEvidence::default(),
            named: vec![],
            with_processes: vec![],
            environment: None,
        }
    }

    /// Reads the pod's files again, because annotations change while the pod runs.
    pub(super) fn read_files(&mut self) {
        let (annotation, sharing) = self.files.gpu_annotations();
        let metadata = if self.claim.is_some() { self.files.claimed_devices() } else { vec![] };
        self.named = match (self.claim, &annotation) {
            (Some(_), _) => metadata.iter().filter_map(|uuid| Id::uuid(uuid)).collect(),
            (None, Some(annotation)) => id::list(annotation).unwrap_or_default(),
            (None, None) => vec![],
        };
        self.contents = FileEvidence { annotation, sharing, metadata };
    }

    /// The evidence of this poll that needs no process lists.
    pub(super) fn evidence<'e>(&'e self, driver: &'e Driver<'_>) -> Evidence<'e> {
        let visible = driver.devices();
        let is_visible = |uuid: &String| visible.iter().any(|device| device.uuid == *uuid);
        let not_visible = self.with_processes.iter().filter(|uuid| !is_visible(uuid)).count();
        Evidence {
            visible,
            unidentified: driver.without_uuid().len() + not_visible,
            claim: self.claim,
            metadata: &self.contents.metadata,
            annotation: self.contents.annotation.as_deref(),
            sharing: self.contents.sharing,
            node_totals: self.node_totals,
        }
    }

    /// Collects the evidence of the pod's processes. Process lists are the slowest calls of the driver.
    pub(super) fn process_evidence(&mut self, driver: &mut Driver<'_>) -> ProcessEvidence {
        ProcessEvidence { processes: self.processes(driver), environment: self.environment() }
    }

    /// Evidence of the devices that the pod should have, visible or not.
    pub(super) fn expected(&self) -> ExpectedDevices<'_> {
        ExpectedDevices {
            has_claim: self.claim.is_some(),
            named: &self.named,
            with_processes: &self.with_processes,
        }
    }

    /// Reads the use of the device at `index` by the session's own processes. Returns none if the process lists cannot be read or
    /// may contain processes of other pods.
    ///
    /// Utilisation is read only if the device `is_shared`. `last` is the time of the newest sample that is already counted, `now` the
    /// time of the device's newest sample, both in microseconds of the driver's clock.
    ///
    /// # Errors
    /// Fails if the device or the driver is lost.
    pub(super) fn own_usage(
        &self,
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
        let Some(listed) = self.own_processes(driver, index, listed) else { return Ok(None) };
        // Without samples of the device, the driver's clock is assumed to be the wall clock.
        let window = SampleWindow::new(last, now.unwrap_or_else(unix_microseconds), self.interval);
        let utilization = if is_shared { driver.process_utilization(index, window.since)? } else { None };
        let own = processes::own_usage(&listed, utilization.as_deref(), window);
        Ok(Some(OwnUsage { newest_sample: own.newest_sample.max(window.since), ..own }))
    }

    /// The device list of the desktop's processes. If no process has a list now: the list of an earlier poll. If there never was
    /// a list: the text of the variable, or why the variable cannot be read.
    fn environment(&mut self) -> Result<EnvironmentDevices, NotApplicable> {
        let current = self.files.visible_devices();
        let is_list = |devices: &&String| id::list(devices).is_ok_and(|ids| !ids.is_empty());
        match (current.as_ref().ok().filter(is_list), self.environment.clone()) {
            (Some(devices), _) => self.environment = Some(devices.clone()),
            // The process with the list has ended, and no other process has a list.
            (None, Some(devices)) => return Ok(EnvironmentDevices { devices, now: false }),
            (None, None) => {}
        }
        current.map(|devices| EnvironmentDevices { devices, now: true })
    }

    /// The devices that have or had processes of this pod.
    fn processes(&mut self, driver: &mut Driver<'_>) -> Processes {
        if let Err(reason) = self.check_process_lists(driver) {
            return Processes::Unknown(reason);
        }
        let mut now = false;
        for index in 0..driver.devices().len() {
            if driver.devices()[index].mig_enabled {
                continue;
            }
            // If the process list cannot be read, the device is treated as if it had no processes now.
            let Ok(Some(listed)) = driver.processes(index) else { continue };
            let Some(listed) = self.own_processes(driver, index, listed) else {
                // The list contains processes of other pods. If the session's processes were seen on another device, this device
                // is skipped; otherwise the strategy does not apply.
                if self.with_processes.is_empty() {
                    return Processes::Unknown(NotApplicable::Implausible);
                }
                continue;
            };
            let uuid = &driver.devices()[index].uuid;
            if !listed.is_empty() {
                now = true;
                if !self.with_processes.contains(uuid) {
                    self.with_processes.push(uuid.clone());
                }
            }
        }
        let has_processes = |index: &usize| self.with_processes.contains(&driver.devices()[*index].uuid);
        Processes::Seen { indices: (0..driver.devices().len()).filter(has_processes).collect(), now }
    }

    /// Checks that the driver's process lists can be compared with the pod's processes. Fails with the reason why not.
    fn check_process_lists(&self, driver: &Driver<'_>) -> Result<(), NotApplicable> {
        self.files.check_pid_namespace()?;
        let is_reliable = processes::are_lists_reliable(driver.versions().driver.as_deref());
        if is_reliable { Ok(()) } else { Err(NotApplicable::DriverTooOld) }
    }

    /// The listed processes, if all of them are the pod's; otherwise none. A process can end after the driver has listed it, so
    /// the list is read once more; the second list does not contain such a process.
    fn own_processes(
        &self,
        driver: &mut Driver<'_>,
        index: usize,
        listed: Vec<Process>,
    ) -> Option<Vec<Process>> {
        let are_own = |listed: &Vec<Process>| processes::all_exist(listed, |pid| self.files.has_process(pid));
        if are_own(&listed) {
            return Some(listed);
        }
        driver.reread_processes(index).ok().flatten().filter(are_own)
    }
}

/// The current time of the wall clock in microseconds since 1970, like the times of the driver.
fn unix_microseconds() -> u64 {
    clock::unix_now().as_micros() as u64
}
