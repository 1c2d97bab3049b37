//! Session pods at one moment, reduced to plain values.

use serde::{Deserialize, Serialize};

use super::{
    container::{ContainerRole, ContainerRun, Exit},
    phase::Phase,
    time::UnixTime,
};
use crate::runtime::vocabulary::vocabulary;

/// A session pod as one event of the watch shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPod {
    /// UID of the pod; identifies the session.
    pub uid: String,
    /// Namespace and name of the pod.
    pub key: PodKey,
    /// The resource version of the object; 0 if it is not a number. Resource versions are comparable as integers (KEP-5504).
    pub version: u64,
    /// Template and pool of the session.
    pub names: GroupNames,
    /// Hash of the configuration by which the sidecar was injected.
    pub configuration: String,
    /// Time of the creation of the pod.
    pub created: UnixTime,
    /// Phase of the status; [`Phase::Terminating`] is not used here.
    pub phase: Phase,
    /// Reason of the status. Only the kubelet and the control plane write it.
    pub reason: Option<PodReason>,
    /// Time at which the kubelet accepted the pod.
    pub started: Option<UnixTime>,
    /// The request to delete the pod.
    pub deletion: Option<Deletion>,
    /// Whether a finalizer keeps a deleted pod until another program removes it.
    pub has_finalizers: bool,
    /// The condition `DisruptionTarget` if it is true.
    pub disruption: Option<Disruption>,
    /// Progress of the start, from the pod's conditions.
    pub progress: Progress,
    /// The containers with a status, without ephemeral containers.
    pub containers: Vec<ContainerRun>,
    /// The GPUs of the pod.
    pub devices: Vec<AllocatedDevice>,
    /// What the status shows about the pod's GPUs.
    pub gpus: GpuVisibility,
    /// The runs of the sidecar that have ended, the older one first. The kubelet keeps the latest two.
    pub sidecar_runs: Vec<SidecarRun>,
}

vocabulary! {
    /// The source of a pod's device; values of the label `source`.
    pub enum DeviceSource {
        /// The kubelet's status of a container: the ID of the device plugin, without the number of a replica.
        Kubelet = "kubelet",
        /// The annotation of HAMi: the UUID.
        Hami = "hami",
        /// The labels of KAI and Run:ai: the group, whose reservation pod has the UUID.
        Reservation = "reservation",
        /// A resource claim of the pod, by its name. Claims can be for other devices than GPUs.
        Claim = "claim",
        /// The kubelet's status of a container: the CDI ID of a device of a claim.
        ClaimDevice = "claim_device",
    }
}

/// The part of the active configuration that the ledger needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActiveSettings {
    /// Hash of the configuration.
    pub hash: String,
    /// Templates that always have a label value of their own.
    pub templates: Vec<String>,
    /// Pools that always have a label value of their own.
    pub pools: Vec<String>,
}

/// Namespace and name of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodKey {
    /// Namespace.
    pub namespace: String,
    /// Name of the pod.
    #[serde(rename = "pod")]
    pub name: String,
}

/// A pod that must be read, because the watch does not show it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnseenPod {
    /// UID of the pod.
    pub uid: String,
    /// Namespace and name of the pod.
    pub key: PodKey,
}

/// A run of the sidecar that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarRun {
    /// First characters of the container's ID; no other run of the pod has the same.
    pub id: String,
    /// Termination message; none if the kubelet wrote another text there.
    pub message: Option<String>,
    /// Seconds from the start to the end of the container; 0 if the kubelet does not know.
    pub seconds: u64,
}

/// What the status of a pod shows about its GPUs. A later value limits the GPUs less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuVisibility {
    /// The pod requests no GPU.
    #[default]
    None,
    /// The pod requests devices, which the status shows in Kubernetes 1.36 and newer.
    Listed,
    /// The pod has parts of GPUs or resource claims, or its request is unknown. The status can show other devices or none.
    Unlisted,
}

/// A GPU of a pod, or an object that names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AllocatedDevice {
    /// Where the ID comes from.
    pub source: DeviceSource,
    /// The ID, in the form of the source.
    pub id: String,
}

/// Names that group sessions. They become label values of the fleet's metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupNames {
    /// Template that the session was created from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Pool that the session belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// Reason in the status of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodReason {
    /// The kubelet evicted the pod, because the node ran short of a resource or the pod used too much storage.
    Evicted,
    /// The kubelet removed the pod for a critical pod.
    Preempting,
    /// The pod reached its `activeDeadlineSeconds`.
    DeadlineExceeded,
    /// The node shut down while the pod ran, or the control plane lost the node.
    NodeGone,
    /// Any other text. The kubelet's list of reasons to reject a pod is open.
    Other,
}

/// A request to delete a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// `deletionTimestamp` minus the grace period.
    pub requested: UnixTime,
    /// `deletionGracePeriodSeconds`; `None` if the object has none.
    pub grace: Option<i64>,
}

/// The condition `DisruptionTarget`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disruption {
    /// Program that disrupts the pod.
    pub cause: DisruptionCause,
    /// Time of the condition's last transition.
    pub since: Option<UnixTime>,
}

/// Program that disrupts a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisruptionCause {
    /// A client used the eviction API, for example `kubectl drain`.
    EvictionApi,
    /// The controller that evicts pods from tainted nodes or devices.
    Taint,
    /// The scheduler, for a pod of higher priority.
    Scheduler,
    /// The garbage collector of pods: the node object does not exist any more.
    PodGc,
    /// The kubelet.
    Kubelet,
    /// A program that this version does not know.
    Other,
}

/// Progress of the start of a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether and when the scheduler chose a node.
    pub scheduling: Scheduling,
    /// Time since which the pod is ready; `None` while it is not.
    pub ready: Option<UnixTime>,
    /// Time since which the control plane does not hear from the kubelet. The node controller then sets the condition `Ready` to
    /// false and leaves `ContainersReady` true.
    pub unreachable: Option<UnixTime>,
}

/// State of the scheduling of a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// The scheduler has not answered yet.
    #[default]
    Waiting,
    /// A scheduling gate holds the pod.
    Gated,
    /// No node fits.
    Unschedulable,
    /// The pod has a node. The time is `None` if the pod was created with its node.
    Done(Option<UnixTime>),
}

// === impl SessionPod ===

impl SessionPod {
    /// The desktop containers: every regular container but the sidecar.
    pub(super) fn desktops(&self) -> impl Iterator<Item = &ContainerRun> {
        self.of_role(ContainerRole::Desktop)
    }

    /// The containers of a role.
    pub(super) fn of_role(&self, role: ContainerRole) -> impl Iterator<Item = &ContainerRun> {
        self.containers.iter().filter(move |container| container.role == role)
    }

    /// The phase as the metrics show it.
    pub(super) fn shown_phase(&self) -> Phase {
        if self.deletion.is_some() && !self.phase.is_terminal() { Phase::Terminating } else { self.phase }
    }

    /// The last exits of the desktop containers; `None` while one of them has not exited, or if no desktop has a status.
    pub(super) fn exits(&self) -> Option<Vec<&Exit>> {
        let exits: Option<Vec<_>> = self.desktops().map(|container| container.state.exit()).collect();
        exits.filter(|exits| !exits.is_empty())
    }

    /// The time at which the last desktop container ended; `None` while a desktop container can still run, or if the kubelet
    /// does not know the time.
    pub(super) fn finished(&self) -> Option<UnixTime> {
        self.exits()?.iter().filter_map(|exit| exit.finished).max()
    }

    /// Whether every desktop container has exited and its restart policy does not restart it.
    pub(super) fn is_done(&self) -> bool {
        self.exits().is_some() && self.desktops().all(|container| !container.restarts_after_exit)
    }

    /// Whether a desktop container runs or has run.
    pub(super) fn shows_run(&self) -> bool {
        self.desktops().any(ContainerRun::has_run)
    }

    /// A time of the end that stands in the object: the end of the desktop, else the request to delete the pod, else the
    /// disruption.
    pub(super) fn known_end(&self) -> Option<UnixTime> {
        let deletion = self.deletion.map(|deletion| deletion.requested);
        self.finished().or(deletion).or_else(|| self.disruption?.since)
    }

    /// Whether the API server removed the pod with this event. Otherwise the pod only lost the label that the watch selects. The
    /// last object of a removed pod always has a grace period of 0.
    pub(in crate::sessions) fn is_removal(&self) -> bool {
        self.deletion.is_some_and(|deletion| deletion.grace == Some(0))
    }
}
