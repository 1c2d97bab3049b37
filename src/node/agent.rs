//! The work of the node agent at each poll: reads the driver once for all sessions, and writes each session's report.

use std::{
    collections::{HashMap, VecDeque},
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::{
    allocations::Allocations,
    attribution::{Attributed, NodeView, Owner},
    config::NodeOptions,
    pod_names,
    pod_volumes::{PodVolumes, SessionVolume},
    process_table::{ProcessOwner, ProcessTable},
    schedulers::{self, Assignment},
    snapshot::{MappingFailure, NodeSnapshot, PollSummary},
};
use crate::{
    contract::REPORT,
    gpu::{Driver, Fault, Process, ProcessUtilization, Reading, ReopenReason, Versions, XidEvent, id::Id},
    runtime::libc,
    sampling::{
        driver_clock,
        observation::DeviceValues,
        poll::{FinishedPoll, PollTask},
        processes::{self, OwnUsage, SampleWindow},
        report::{DeviceReport, SessionReport, VERSION, XidReport},
    },
};

/// The agent's state between two polls.
#[derive(Debug)]
pub(super) struct AgentPoller {
    interval: Duration,
    /// The kubelet's folder of logs.
    pod_logs: PathBuf,
    volumes: PodVolumes,
    processes: ProcessTable,
    allocations: watch::Receiver<Arc<Allocations>>,
    versions: Versions,
    /// Time of the newest process sample of each device, by UUID, in microseconds of the driver's clock.
    newest_samples: HashMap<String, u64>,
    /// The latest Xid faults of each device, by UUID.
    xids: HashMap<String, VecDeque<XidReport>>,
    snapshots: watch::Sender<Arc<NodeSnapshot>>,
}

/// Number of Xid faults of a device that stay in its reports. A sidecar reads each report or the one after it. A failing card can
/// report a hundred faults a second; most of them have the same number.
const MAX_XIDS: usize = 64;

/// What one poll read from one device.
struct NodeReading {
    values: Result<(Reading, bool), Fault>,
    /// The processes with their owners: the UID of a pod, or none for a process outside of all pods. None if the driver gives no
    /// complete list.
    processes: Option<Vec<(Process, Option<String>)>>,
    utilization: Option<Vec<ProcessUtilization>>,
    window: SampleWindow,
}

// === impl AgentPoller ===

impl AgentPoller {
    /// A poller of the node with these folders.
    ///
    /// # Errors
    /// Fails if the kubelet's folder `pods`, or `proc`, cannot be read.
    pub(super) fn new(
        interval: Duration,
        options: &NodeOptions,
        allocations: watch::Receiver<Arc<Allocations>>,
        snapshots: watch::Sender<Arc<NodeSnapshot>>,
    ) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            interval,
            pod_logs: options.pod_logs.clone(),
            volumes: PodVolumes::open(&options.kubelet_root)?,
            processes: ProcessTable::new(&options.proc)?,
            allocations,
            versions: Versions::default(),
            newest_samples: HashMap::new(),
            xids: HashMap::new(),
            snapshots,
        })
    }

    fn read_devices(&mut self, driver: &mut Driver<'_>, summary: &mut PollSummary) -> Vec<NodeReading> {
        (0..driver.devices().len()).map(|index| self.read(driver, index, summary)).collect()
    }

    fn read(&mut self, driver: &mut Driver<'_>, index: usize, summary: &mut PollSummary) -> NodeReading {
        let uuid = driver.devices()[index].uuid.clone();
        let earlier_faults = driver.faults().len();
        let read = driver.read(index);
        let listed = driver.processes(index).ok().flatten();
        let newest_sample = read.as_ref().ok().and_then(Reading::newest_sample);
        let last = self.newest_samples.get(&uuid).copied().unwrap_or_default();
        let window = SampleWindow::new(last, driver_clock::clocks(newest_sample), self.interval);
        let utilization = driver.process_utilization(index, window.since).ok().flatten();
        let newest =
            utilization.iter().flatten().map(|sample| sample.at).filter(|at| window.contains(*at)).max();
        self.newest_samples.extend(newest.map(|at| (uuid, at)));
        let is_incomplete = driver.has_failed_since(earlier_faults);
        NodeReading {
            values: read.map(|reading| (reading, is_incomplete)),
            processes: listed.and_then(|listed| self.with_owners(listed, summary)),
            utilization,
            window,
        }
    }

    /// The processes that still exist, with their owners. A process whose owner cannot be read is left out and counted. None if none
    /// of the listed processes exists here: then the PIDs are of another PID namespace.
    fn with_owners(
        &mut self,
        listed: Vec<Process>,
        summary: &mut PollSummary,
    ) -> Option<Vec<(Process, Option<String>)>> {
        let is_empty = listed.is_empty();
        let seen_at = libc::since_boot();
        let owner = |process: Process| match self.processes.owner(process.pid, seen_at) {
            ProcessOwner::Pod(pod) => Some((process, Some(pod.uid))),
            ProcessOwner::NoPod => Some((process, None)),
            ProcessOwner::Ended => {
                summary.fail(MappingFailure::ProcessEnded);
                None
            }
            ProcessOwner::Unreadable(error) => {
                tracing::debug!(%error, "Cannot read the pod of a process");
                summary.fail(MappingFailure::ProcessUnreadable);
                None
            }
        };
        let owned: Vec<_> = listed.into_iter().filter_map(owner).collect();
        (is_empty || !owned.is_empty()).then_some(owned)
    }

    /// Writes the reports of all sessions.
    fn report(&self, driver: &Driver<'_>, readings: &[NodeReading], at: Duration, summary: &mut PollSummary) {
        let found = match self.volumes.sessions() {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "Cannot find the sessions of this node");
                return summary.fail(MappingFailure::PodsUnreadable);
            }
        };
        for error in &found.errors {
            tracing::debug!(pod = error.uid(), %error, "Cannot read the volume of a pod");
            summary.fail(MappingFailure::VolumeUnreadable);
        }
        let assigned = self.assigned(&found.volumes, summary);
        let owners: Vec<Vec<Owner<'_>>> = readings.iter().map(NodeReading::owners).collect();
        let view = NodeView { devices: driver.devices(), assigned: &assigned, owners: &owners };
        for volume in &found.volumes {
            let attributed = view.devices_of(volume.uid());
            if attributed.is_empty() && !view.is_assignment_known(volume.uid()) {
                // The pod may have a device that the agent does not know of.
                summary.fail(MappingFailure::PodUnknown);
                continue;
            }
            let report = self.session_report(driver, readings, &attributed, volume.uid(), at);
            match volume.write(REPORT, &report.to_bytes()) {
                Ok(()) => summary.reports += 1,
                Err(error) => {
                    tracing::debug!(pod = error.uid(), %error, "Cannot write a report");
                    summary.fail(MappingFailure::ReportNotWritten);
                }
            }
        }
    }

    /// The devices that are assigned to each session, by UID. A session is left out if they are not known.
    fn assigned(&self, volumes: &[SessionVolume<'_>], summary: &mut PollSummary) -> HashMap<String, Vec<Id>> {
        let names = pod_names::pod_names(&self.pod_logs).unwrap_or_else(|error| {
            tracing::debug!(%error, "Cannot read the kubelet's folder of logs");
            summary.fail(MappingFailure::PodLogsUnreadable);
            HashMap::new()
        });
        let allocations = Arc::clone(&self.allocations.borrow());
        let of_kubelet = |uid: &str| Some(allocations.of_pod(names.get(uid)?)?.to_vec());
        let mut assigned = HashMap::new();
        for volume in volumes {
            let ids = match assignment(volume) {
                Ok(Assignment::Kubelet) => of_kubelet(volume.uid()),
                Ok(Assignment::Scheduler(ids)) => Some(ids),
                Ok(Assignment::Unknown) => None,
                Err(error) => {
                    tracing::debug!(pod = volume.uid(), error, "Cannot read the annotations of a pod");
                    summary.fail(MappingFailure::AnnotationsUnreadable);
                    None
                }
            };
            assigned.extend(ids.map(|ids| (volume.uid().to_owned(), ids)));
        }
        assigned
    }

    fn session_report(
        &self,
        driver: &Driver<'_>,
        readings: &[NodeReading],
        attributed: &[Attributed],
        uid: &str,
        at: Duration,
    ) -> SessionReport {
        let device = |attributed: &Attributed| DeviceReport {
            device: driver.devices()[attributed.index].clone(),
            sharing: attributed.sharing,
            values: readings[attributed.index].values_of(uid),
            xids: self.xids_of(&driver.devices()[attributed.index].uuid),
        };
        SessionReport {
            version: VERSION,
            at_us: at.as_micros() as u64,
            interval_us: self.interval.as_micros() as u64,
            versions: self.versions.clone(),
            devices: attributed.iter().map(device).collect(),
        }
    }

    fn xids_of(&self, uuid: &str) -> Vec<XidReport> {
        self.xids.get(uuid).into_iter().flatten().copied().collect()
    }
}

fn assignment(volume: &SessionVolume<'_>) -> Result<Assignment, String> {
    let annotations = volume.annotations().map_err(|error| error.to_string())?.unwrap_or_default();
    schedulers::assignment(&String::from_utf8_lossy(&annotations))
}

impl PollTask for AgentPoller {
    type Output = PollSummary;

    fn begin(&mut self) -> Option<PollSummary> {
        None
    }

    fn opened(&mut self, driver: &Driver<'_>) {
        self.versions = driver.versions().clone();
    }

    fn poll(&mut self, driver: &mut Driver<'_>) -> (PollSummary, Option<ReopenReason>) {
        let mut summary = PollSummary { is_driver_readable: true, ..PollSummary::default() };
        if let Err(fault) = driver.begin_poll() {
            return (self.unavailable(fault), None);
        }
        let at = libc::since_boot();
        let readings = self.read_devices(driver, &mut summary);
        self.report(driver, &readings, at, &mut summary);
        self.processes.end_poll();
        let devices = driver.devices();
        let is_visible = |uuid: &String| devices.iter().any(|device| device.uuid == *uuid);
        self.newest_samples.retain(|uuid, _| is_visible(uuid));
        self.xids.retain(|uuid, _| is_visible(uuid));
        summary.devices = devices.len();
        (summary, driver.reopen_reason())
    }

    /// Writes nothing: the reports become stale, and the sidecars count the time as unsampled.
    fn unavailable(&mut self, fault: Fault) -> PollSummary {
        tracing::debug!(%fault, "The driver does not answer");
        PollSummary::default()
    }

    fn publish(&mut self, summary: PollSummary, poll: &FinishedPoll) {
        let failure = self.allocations.borrow().failure;
        let next = self.snapshots.borrow().after(&summary, poll, failure);
        self.snapshots.send_replace(Arc::new(next));
    }

    fn xid(&mut self, event: &XidEvent) {
        let at_us = libc::since_boot().as_micros() as u64;
        for uuid in &event.devices {
            let xids = self.xids.entry(uuid.clone()).or_default();
            if xids.len() == MAX_XIDS {
                xids.pop_front();
            }
            xids.push_back(XidReport { at_us, code: event.code });
        }
    }
}

// === impl NodeReading ===

impl NodeReading {
    fn owners(&self) -> Vec<Owner<'_>> {
        self.processes.iter().flatten().map(|(_, owner)| owner.as_deref()).collect()
    }

    /// The values of the device for the pod with this UID.
    fn values_of(&self, uid: &str) -> Result<DeviceValues, Fault> {
        let (reading, is_incomplete) = self.values.clone()?;
        Ok(DeviceValues { reading, own: self.own_usage(uid), is_incomplete })
    }

    fn own_usage(&self, uid: &str) -> Option<OwnUsage> {
        let own = self.processes.as_ref()?.iter().filter(|(_, owner)| owner.as_deref() == Some(uid));
        let listed: Vec<Process> = own.map(|(process, _)| *process).collect();
        let usage = processes::own_usage(&listed, self.utilization.as_deref(), self.window);
        Some(OwnUsage { newest_sample: usage.newest_sample.max(self.window.since), ..usage })
    }
}
