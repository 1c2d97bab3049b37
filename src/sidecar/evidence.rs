//! What the container and the driver say about whose GPU it is, put before the ladder; and what the session's own processes
//! have of a device. No judgement is made here.

use std::time::{Duration, SystemTime};

use super::{
    attribution::{
        self, AttributionResult, AttributionStep, ClaimKind, EnvironmentDevices, Evidence, NotApplicable,
        ProcessEvidence, Processes, Scope, SessionDevice,
    },
    config::Config,
    pod_files::PodFiles,
};
use crate::{
    gpu::{
        Driver, Fault, Process,
        id::{self, Id},
    },
    sampling::processes::{self, OwnUsage},
};

/// Who looks.
#[derive(Debug)]
pub(super) struct EvidenceCollector {
    claim: Option<ClaimKind>,
    node_totals: bool,
    interval: Duration,
    container: PodFiles,
    /// Devices on which processes of the pod have been seen, by UUID.
    seen: Vec<String>,
    /// What the desktop's environment said last.
    environment: Option<String>,
    /// The devices that a claim's metadata or, without a claim, the annotation names: those and no others.
    named: Vec<Id>,
}

// === impl EvidenceCollector ===

impl EvidenceCollector {
    /// Of a container with these files.
    pub(super) fn new(config: &Config, container: PodFiles) -> Self {
        let &Config { claim, node_totals, interval, .. } = config;
        Self { claim, node_totals, interval, container, seen: vec![], environment: None, named: vec![] }
    }

    /// Collects the evidence and decides. Process lists are the slowest calls, so they are read only if no strategy applies
    /// without them.
    pub(super) fn verdict(&mut self, driver: &mut Driver<'_>) -> AttributionResult {
        let (annotation, sharing) = self.container.gpu_annotations();
        let metadata = if self.claim.is_some() { self.container.claimed_devices() } else { vec![] };
        self.named = match (self.claim, &annotation) {
            (Some(_), _) => metadata.iter().filter_map(|uuid| Id::uuid(uuid)).collect(),
            (None, told) => told.as_deref().and_then(|told| id::list(told).ok()).unwrap_or_default(),
        };
        let evidence = Evidence {
            visible: &[],
            unnamed: driver.without_uuid().len()
                + self
                    .seen
                    .iter()
                    .filter(|uuid| !driver.devices().iter().any(|device| device.uuid == **uuid))
                    .count(),
            claim: self.claim,
            metadata: &metadata,
            annotation: annotation.as_deref(),
            sharing,
            node_totals: self.node_totals,
        };
        match attribution::decide(&Evidence { visible: driver.devices(), ..evidence }) {
            AttributionStep::Final(result) => result,
            AttributionStep::NeedsProcesses(undecided) => {
                let processes =
                    ProcessEvidence { processes: self.processes(driver), environment: self.environment() };
                undecided.decide(&Evidence { visible: driver.devices(), ..evidence }, &processes)
            }
        }
    }

    /// Whether a device that is not visible is the session's all the same: it was, nobody has named others since, and either
    /// there is one that the driver cannot name, or something says that it has to be there.
    pub(super) fn misses(&self, uuid: &str, driver: &Driver<'_>) -> bool {
        // A number that stands for none that is there may have stood for it.
        let names = |id: &Id| match id.as_uuid() {
            Some(named) => named.eq_ignore_ascii_case(uuid),
            None => !id.is_among(driver.devices()),
        };
        let is_known =
            self.claim.is_some() || !self.named.is_empty() || self.seen.iter().any(|seen| seen == uuid);
        (self.named.is_empty() || self.named.iter().any(names))
            && (is_known || !driver.without_uuid().is_empty())
    }

    /// Whether somebody has named the session's devices, and so no others are.
    pub(super) fn is_told(&self) -> bool {
        !self.named.is_empty()
    }

    /// The devices that are named and not visible, as far as they are named by UUID; each once.
    pub(super) fn named_in_vain(&self, driver: &Driver<'_>) -> Vec<&str> {
        let mut found: Vec<&str> = vec![];
        for uuid in self.named.iter().filter(|id| !id.is_among(driver.devices())).filter_map(Id::as_uuid) {
            if !found.iter().any(|known| known.eq_ignore_ascii_case(uuid)) {
                found.push(uuid);
            }
        }
        found
    }

    fn environment(&mut self) -> Result<EnvironmentDevices, NotApplicable> {
        let said = self.container.visible_devices();
        let names = |devices: &&String| id::list(devices).is_ok_and(|ids| !ids.is_empty());
        match (said.as_ref().ok().filter(names), self.environment.clone()) {
            (Some(devices), _) => self.environment = Some(devices.clone()),
            // Another process says nothing, or none is left.
            (None, Some(devices)) => return Ok(EnvironmentDevices { devices, now: false }),
            (None, None) => {}
        }
        said.map(|devices| EnvironmentDevices { devices, now: true })
    }

    /// On which devices processes of this pod are or have been.
    fn processes(&mut self, driver: &mut Driver<'_>) -> Processes {
        if let Err(pass) = self.sees_own_processes(driver) {
            return Processes::Unknown(pass);
        }
        let mut now = false;
        for index in 0..driver.devices().len() {
            if driver.devices()[index].mig_enabled {
                continue;
            }
            // A device whose list is not to be had is no place where a process was seen.
            let Ok(Some(listed)) = driver.processes(index) else { continue };
            let Some(listed) = self.own_processes(driver, index, listed) else {
                if self.seen.is_empty() {
                    return Processes::Unknown(NotApplicable::Implausible);
                }
                continue;
            };
            let uuid = &driver.devices()[index].uuid;
            if !listed.is_empty() {
                now = true;
                if !self.seen.contains(uuid) {
                    self.seen.push(uuid.clone());
                }
            }
        }
        let seen = |index: &usize| self.seen.contains(&driver.devices()[*index].uuid);
        Processes::Seen { indices: (0..driver.devices().len()).filter(seen).collect(), now }
    }

    fn sees_own_processes(&self, driver: &Driver<'_>) -> Result<(), NotApplicable> {
        self.container.sees_the_pods_processes()?;
        let is_new_enough = processes::are_believable(driver.versions().driver.as_deref());
        if is_new_enough { Ok(()) } else { Err(NotApplicable::DriverTooOld) }
    }

    /// What the driver lists, where all of it is the pod's. A process can end between the list and the look at what is here:
    /// then the driver does not list it a second time.
    fn own_processes(
        &self,
        driver: &mut Driver<'_>,
        index: usize,
        listed: Vec<Process>,
    ) -> Option<Vec<Process>> {
        let is_own =
            |listed: &Vec<Process>| processes::are_here(listed, |pid| self.container.has_process(pid));
        if is_own(&listed) {
            return Some(listed);
        }
        driver.reread_processes(index).ok().flatten().filter(is_own)
    }

    /// What the session's own processes have of a device, where they can be told from others'; `since` is the time of the
    /// newest sample of theirs that is known, because what they did before it was told then.
    pub(super) fn own(
        &self,
        driver: &mut Driver<'_>,
        ours: SessionDevice,
        since: u64,
    ) -> Result<Option<OwnUsage>, Fault> {
        if self.sees_own_processes(driver).is_err() {
            return Ok(None);
        }
        let Some(listed) = driver.processes(ours.index)? else { return Ok(None) };
        let Some(listed) = self.own_processes(driver, ours.index, listed) else { return Ok(None) };
        let now = unix_microseconds();
        // Where the clock was set back, what is known is of a time to come, and nothing would be newer.
        let since = match since {
            since if (1..=now).contains(&since) => since,
            _ => now.saturating_sub(self.interval.as_micros() as u64),
        };
        // What is the session's alone needs no part of it to be told.
        let shares = if ours.scope == Scope::Session {
            None
        } else {
            driver.process_utilization(ours.index, since)?
        };
        let own = processes::own(&listed, shares.as_deref());
        Ok(Some(OwnUsage { newest: own.newest.max(since), ..own }))
    }
}

/// The driver's times are the wall clock's.
fn unix_microseconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}
