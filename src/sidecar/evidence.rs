//! Collects evidence: which devices the pod's files and processes name, and how much of a device the session's own processes use.
//! `attribution` draws the conclusions.

use std::time::{Duration, SystemTime};

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
    sampling::processes::{self, OwnUsage},
};

/// Collects the evidence of one container, and remembers what it saw at earlier polls.
#[derive(Debug)]
pub(super) struct EvidenceCollector {
    claim: Option<ClaimKind>,
    node_totals: bool,
    interval: Duration,
    files: PodFiles,
    /// Contents of the files at this poll.
    contents: FileEvidence,
    /// The devices that `contents` names.
    named: Vec<Id>,
    /// UUIDs of the devices on which processes of the pod have been seen.
    with_processes: Vec<String>,
    /// Last list of devices that the desktop's environment named.
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
    /// Creates a collector for the container with these files.
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

    /// The evidence that needs no process lists.
    pub(super) fn evidence<'e>(&'e self, driver: &'e Driver<'_>) -> Evidence<'e> {
        let visible = driver.devices();
        let is_visible = |uuid: &String| visible.iter().any(|device| device.uuid == *uuid);
        let not_visible = self.with_processes.iter().filter(|uuid| !is_visible(uuid)).count();
        Evidence {
            visible,
            unnamed: driver.without_uuid().len() + not_visible,
            claim: self.claim,
            metadata: &self.contents.metadata,
            annotation: self.contents.annotation.as_deref(),
            sharing: self.contents.sharing,
            node_totals: self.node_totals,
        }
    }

    /// The evidence of the pod's processes. The process lists are the slowest calls of the driver.
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

    /// Use of the device at `index` by the session's own processes; none if they cannot be distinguished from other pods' processes. Their
    /// utilisation is read only from a device that is `shared`, and only after `since`, the time of their newest sample so
    /// far, because earlier samples are counted already.
    ///
    /// # Errors
    /// Fails in the cases of [`Driver::read`].
    pub(super) fn own_usage(
        &self,
        driver: &mut Driver<'_>,
        index: usize,
        shared: bool,
        since: u64,
    ) -> Result<Option<OwnUsage>, Fault> {
        if self.are_processes_visible(driver).is_err() {
            return Ok(None);
        }
        let Some(listed) = driver.processes(index)? else { return Ok(None) };
        let Some(listed) = self.own_processes(driver, index, listed) else { return Ok(None) };
        let now = unix_microseconds();
        // If the clock was set back, `since` is in the future and no sample would be newer.
        let since = match since {
            since if (1..=now).contains(&since) => since,
            _ => now.saturating_sub(self.interval.as_micros() as u64),
        };
        let utilization = if shared { driver.process_utilization(index, since)? } else { None };
        let own = processes::own_usage(&listed, utilization.as_deref());
        Ok(Some(OwnUsage { newest: own.newest.max(since), ..own }))
    }

    fn environment(&mut self) -> Result<EnvironmentDevices, NotApplicable> {
        let current = self.files.visible_devices();
        let is_list = |devices: &&String| id::list(devices).is_ok_and(|ids| !ids.is_empty());
        match (current.as_ref().ok().filter(is_list), self.environment.clone()) {
            (Some(devices), _) => self.environment = Some(devices.clone()),
            // The process has ended, and no other process names devices.
            (None, Some(devices)) => return Ok(EnvironmentDevices { devices, now: false }),
            (None, None) => {}
        }
        current.map(|devices| EnvironmentDevices { devices, now: true })
    }

    /// Devices on which processes of this pod are or have been.
    fn processes(&mut self, driver: &mut Driver<'_>) -> Processes {
        if let Err(reason) = self.are_processes_visible(driver) {
            return Processes::Unknown(reason);
        }
        let mut now = false;
        for index in 0..driver.devices().len() {
            if driver.devices()[index].mig_enabled {
                continue;
            }
            // A device without a process list has no process that the sidecar can see.
            let Ok(Some(listed)) = driver.processes(index) else { continue };
            let Some(listed) = self.own_processes(driver, index, listed) else {
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

    fn are_processes_visible(&self, driver: &Driver<'_>) -> Result<(), NotApplicable> {
        self.files.sees_the_pods_processes()?;
        let is_reliable = processes::are_lists_reliable(driver.versions().driver.as_deref());
        if is_reliable { Ok(()) } else { Err(NotApplicable::DriverTooOld) }
    }

    /// The listed processes, if all of them are the pod's. A process can end after the driver has listed it: then the second
    /// list does not contain it.
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

/// The driver's times are times of the wall clock.
fn unix_microseconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}
