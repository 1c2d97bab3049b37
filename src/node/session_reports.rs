//! Finds the sessions of the node, and writes the report of each session.

use std::{
    collections::{HashMap, VecDeque},
    error::Error,
    path::PathBuf,
    time::Duration,
};

use super::{
    allocations::{Allocations, ListedGpus},
    attribution::{self, Attributed, NodeView, Owner},
    config::NodeOptions,
    device_reader::{NodeReading, PolledDevices},
    device_totals::NodeSessions,
    pod_names,
    pod_resources::allocation::PodName,
    pod_volumes::{PodVolumes, SessionVolume, SessionVolumes},
    schedulers::{self, Assignment},
    snapshot::{MappingFailure, PollSummary},
};
use crate::{
    contract::{REPORT, annotation_file, key},
    gpu::{Device, Versions, XidEvent, id::Id},
    runtime::log::OngoingError,
    sampling::{
        report::{DeviceReport, SessionReport, VERSION, XidReport},
        sharing::Sharing,
    },
};

/// Writes the reports. Remembers the faults of the cards between two polls.
#[derive(Debug)]
pub(super) struct SessionReports {
    interval: Duration,
    /// The kubelet's folder of logs.
    pod_logs: PathBuf,
    pod_logs_error: OngoingError,
    volumes: PodVolumes,
    volumes_error: OngoingError,
    versions: Versions,
    /// The latest Xid faults of each device, by UUID.
    xids: HashMap<String, VecDeque<XidReport>>,
}

/// Log message: the kubelet's folder `pods` cannot be read.
const NO_SESSIONS: &str = "Cannot find the sessions of this node; no session gets a report";

/// Log message: the kubelet's folder of logs cannot be read.
const NO_POD_NAMES: &str =
    "Cannot read the names of pods; sessions have only the devices with their processes";

/// Number of Xid faults of a device that stay in its reports. A sidecar reads each report or the one after it. A failing card can
/// report a hundred faults a second; most of them have the same number.
const MAX_XIDS: usize = 64;

/// What the kubelet, schedulers and annotations show about the devices of the sessions.
#[derive(Debug, Default)]
struct SessionAssignments {
    /// The devices that are assigned to each session, by UID. A session is left out if they are not known.
    assigned: HashMap<String, Vec<Id>>,
    /// The UIDs of the sessions whose name is known.
    uids: HashMap<PodName, String>,
    /// Values of the annotation `vdi-metrics.io/gpu-sharing`, by UID.
    annotated: HashMap<String, Sharing>,
}

// === impl SessionReports ===

impl SessionReports {
    /// A writer for the sessions in the kubelet's folders.
    ///
    /// # Errors
    /// Fails if the kubelet's folder `pods` cannot be read.
    pub(super) fn new(interval: Duration, options: &NodeOptions) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            interval,
            pod_logs: options.pod_logs.clone(),
            pod_logs_error: OngoingError::new(NO_POD_NAMES),
            volumes: PodVolumes::open(&options.kubelet_root)?,
            volumes_error: OngoingError::new(NO_SESSIONS),
            versions: Versions::default(),
            xids: HashMap::new(),
        })
    }

    /// Sets the versions of the driver that the reports name.
    pub(super) fn set_versions(&mut self, versions: &Versions) {
        self.versions = versions.clone();
    }

    /// Keeps a fault of a card for the next reports. `at` is the time since the start of the node.
    pub(super) fn record_xid(&mut self, event: &XidEvent, at: Duration) {
        for uuid in &event.devices {
            let xids = self.xids.entry(uuid.clone()).or_default();
            if xids.len() == MAX_XIDS {
                xids.pop_front();
            }
            xids.push_back(XidReport { at_us: at.as_micros() as u64, code: event.code });
        }
    }

    /// Writes the reports of all sessions, and returns the sessions.
    pub(super) fn write(
        &mut self,
        polled: &PolledDevices,
        allocations: &Allocations,
        summary: &mut PollSummary,
    ) -> NodeSessions {
        self.xids.retain(|uuid, _| polled.devices.iter().any(|device| device.uuid == *uuid));
        let Some(found) = self.find_sessions(summary) else { return NodeSessions::default() };
        let assignments = self.assignments(&found.volumes, &polled.devices, allocations, summary);
        let listed = assignments.with_uids(allocations);
        let owners: Vec<Vec<Owner<'_>>> = polled.readings.iter().map(NodeReading::owners).collect();
        let SessionAssignments { assigned, annotated, .. } = &assignments;
        let view =
            NodeView { devices: &polled.devices, assigned, listed: &listed, annotated, owners: &owners };
        let mut sessions = NodeSessions::new(found.uids());
        for volume in &found.volumes {
            let attributed = view.devices_of(volume.uid());
            sessions.add(&attributed);
            if attributed.is_empty() && !view.is_assignment_known(volume.uid()) {
                // The pod may have a device that the agent does not know of.
                tracing::debug!(
                    pod = volume.uid(),
                    "The devices of the pod are not known, and it has no process on a device"
                );
                summary.fail(MappingFailure::PodUnknown);
            } else {
                self.write_report(volume, &attributed, polled, summary);
            }
        }
        sessions
    }

    /// The session pods of the node; none if the kubelet's folder `pods` cannot be read.
    fn find_sessions(&self, summary: &mut PollSummary) -> Option<SessionVolumes<'_>> {
        match self.volumes.sessions() {
            Ok(found) => {
                self.volumes_error.log(None);
                for error in &found.errors {
                    tracing::debug!(pod = error.uid(), %error, "Cannot read the volume of a pod");
                    summary.fail(MappingFailure::VolumeUnreadable);
                }
                Some(found)
            }
            Err(error) => {
                self.volumes_error.log(Some(&error));
                summary.fail(MappingFailure::PodsUnreadable);
                None
            }
        }
    }

    /// The names of the pods by UID; empty if the kubelet's folder of logs cannot be read.
    fn pod_names(&self, summary: &mut PollSummary) -> HashMap<String, PodName> {
        match pod_names::pod_names(&self.pod_logs) {
            Ok(names) => {
                self.pod_logs_error.log(None);
                names
            }
            Err(error) => {
                let folder = self.pod_logs.display();
                self.pod_logs_error.log(Some(&format_args!("{folder}: {error}; check --pod-logs")));
                summary.fail(MappingFailure::PodLogsUnreadable);
                HashMap::new()
            }
        }
    }

    /// Reads what the kubelet, schedulers and annotations show about the devices of the sessions.
    fn assignments(
        &self,
        volumes: &[SessionVolume<'_>],
        devices: &[Device],
        allocations: &Allocations,
        summary: &mut PollSummary,
    ) -> SessionAssignments {
        let names = self.pod_names(summary);
        let names = unique_names(volumes, &names);
        let mut assignments = SessionAssignments::default();
        for volume in volumes {
            let (assignment, sharing) = of_annotations(volume).unwrap_or_else(|error| {
                tracing::debug!(pod = volume.uid(), error, "Cannot use the annotations of a pod");
                summary.fail(MappingFailure::AnnotationsUnreadable);
                (Assignment::Unknown, None)
            });
            let name = names.get(volume.uid()).copied();
            let ids = assigned(assignment, name, &allocations.gpus, devices);
            let ids = ids.filter(|ids| attribution::are_identified(ids, devices));
            assignments.annotated.extend(sharing.map(|sharing| (volume.uid().to_owned(), sharing)));
            assignments.uids.extend(name.map(|name| (name.clone(), volume.uid().to_owned())));
            assignments.assigned.extend(ids.map(|ids| (volume.uid().to_owned(), ids)));
        }
        assignments
    }

    fn write_report(
        &self,
        volume: &SessionVolume<'_>,
        attributed: &[Attributed],
        polled: &PolledDevices,
        summary: &mut PollSummary,
    ) {
        let report = self.report(volume.uid(), attributed, polled);
        match volume.write(REPORT, &report.to_bytes()) {
            Ok(()) => summary.reports += 1,
            Err(error) => {
                tracing::debug!(pod = error.uid(), %error, "Cannot write a report");
                summary.fail(MappingFailure::ReportNotWritten);
            }
        }
    }

    fn report(&self, uid: &str, attributed: &[Attributed], polled: &PolledDevices) -> SessionReport {
        let device = |attributed: &Attributed| {
            let device = polled.devices[attributed.index].clone();
            DeviceReport {
                sharing: attributed.sharing,
                is_unassigned: attributed.is_unassigned,
                values: polled.readings[attributed.index].values_of(uid),
                xids: self.xids.get(&device.uuid).into_iter().flatten().copied().collect(),
                device,
            }
        };
        SessionReport {
            version: VERSION,
            at_us: polled.at.as_micros() as u64,
            interval_us: self.interval.as_micros() as u64,
            versions: self.versions.clone(),
            devices: attributed.iter().map(device).collect(),
        }
    }
}

// === impl SessionAssignments ===

impl SessionAssignments {
    /// The devices that the kubelet has allocated to each pod, with the UID if the pod is a session.
    fn with_uids<'a>(&'a self, allocations: &'a Allocations) -> Vec<(Owner<'a>, &'a [Id])> {
        let uid = |name| self.uids.get(name).map(String::as_str);
        allocations.gpus.all().map(|(name, ids)| (uid(name), ids)).collect()
    }
}

/// The devices that are assigned to the pod with this name; none if they are not known.
fn assigned(
    assignment: Assignment,
    name: Option<&PodName>,
    gpus: &ListedGpus,
    devices: &[Device],
) -> Option<Vec<Id>> {
    let listed = || Some(gpus.of_pod(name?)?.to_vec());
    match (assignment, listed()) {
        (Assignment::Kubelet, own) => own,
        // HAMi's device plugin makes the kubelet allocate a device too, so the annotation of a pod without one is not HAMi's.
        (Assignment::Scheduler(_), Some(own)) if own.is_empty() => Some(own),
        (Assignment::Scheduler(ids), _) => Some(ids),
        // A pod with devices of its own is not one of KAI's: KAI refuses a pod that requests a part and an entire card.
        (Assignment::HandedOver(_) | Assignment::Reserved(_), Some(own)) if !own.is_empty() => Some(own),
        // A user can write the annotation. The kubelet's list is the better source.
        (Assignment::HandedOver(ids), _) => ids.filter(|ids| !gpus.are_of_other_pods(ids, name, devices)),
        (Assignment::Reserved(cards), own) => own.and_then(|_| gpus.reserved(cards)),
        (Assignment::Unknown, _) => None,
    }
}

/// The names of these session pods, by UID. A name that two of them have is left out: the volumes of a pod that was deleted by force can
/// still exist when the pod that replaces it starts, and the kubelet's list has no UID.
fn unique_names<'n>(
    volumes: &[SessionVolume<'_>],
    names: &'n HashMap<String, PodName>,
) -> HashMap<&'n str, &'n PodName> {
    let known: Vec<_> = volumes.iter().filter_map(|volume| names.get_key_value(volume.uid())).collect();
    let mut counts = HashMap::<&PodName, usize>::new();
    known.iter().for_each(|(_, name)| *counts.entry(name).or_default() += 1);
    known.into_iter().filter(|(_, name)| counts[name] == 1).map(|(uid, name)| (uid.as_str(), name)).collect()
}

/// The source of the pod's devices, and how its annotation says that they are shared.
fn of_annotations(volume: &SessionVolume<'_>) -> Result<(Assignment, Option<Sharing>), String> {
    let text = volume.annotations().map_err(|error| error.to_string())?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let sharing = annotation_file::value(&text, key::GPU_SHARING)?.map(Sharing::of_annotation);
    Ok((schedulers::assignment(&text)?, sharing))
}
