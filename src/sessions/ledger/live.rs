//! Memory of the ledger about a session while its pod exists: the last state, and the facts that later states lose.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    container::WaitCause,
    pending::{self, PendingReason},
    phase::Phase,
    restarts::{self, Restart},
    runs::{NODE_DEVICES, SidecarRuns},
    session::{AllocatedDevice, DeviceSource, GpuVisibility, GroupNames, PodKey, SessionPod},
    startup::{self, Stage},
    time::UnixTime,
};

/// A session whose pod exists. The serialized form has no version of its own: the shard of the checkpoint that contains it has one. It leaves out
/// fields with their default value, because the entries of 50,000 sessions are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSession {
    /// Resource version of the last state. An event with a lower or the same version changes nothing.
    pub(super) version: u64,
    #[serde(flatten)]
    pub(super) key: PodKey,
    /// Template and pool. They do not change after the desktop has run, because the sidecar reads them at its start.
    #[serde(flatten)]
    pub(super) names: GroupNames,
    /// Hash of the configuration by which the sidecar was injected.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) configuration: String,
    pub(super) phase: Phase,
    /// Why the pod is pending.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) pending: Option<PendingReason>,
    /// Time at which the kubelet accepted the pod.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) started: Option<UnixTime>,
    /// Whether a desktop container has run. A restarted node removes the evidence from the pod's status.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) has_run: bool,
    /// Whether the desktop had ended, for good, in a state without a request to delete the pod.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) is_done: bool,
    /// Time at which the desktop ended, if it will not be restarted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) finished: Option<UnixTime>,
    /// Time of the first request to delete the pod. The last object of a pod has another time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) deletion_requested: Option<UnixTime>,
    /// Whether the first request had a grace period of 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) is_forced: bool,
    /// Whether a desktop container ran in a state with a request to delete the pod.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) ran_after_request: bool,
    /// Whether an image could not be used.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) image_failed: bool,
    /// Time since which the node does not answer; forgotten when the kubelet writes the pod's status again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) unreachable_since: Option<UnixTime>,
    /// Restarts by container, without containers that have none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) restarts: BTreeMap<String, u32>,
    /// Stages of the start that are counted already.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) stages: BTreeSet<Stage>,
    /// Every device that was allocated to the pod. A late status of an ended container does not contain the devices.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) devices: BTreeSet<AllocatedDevice>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) gpus: GpuVisibility,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) runs: SidecarRuns,
    /// Whether the end of the session is counted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) is_counted: bool,
    /// Time at which the pod was seen last, if the watch does not show it any more although no event has shown its removal: it lost its
    /// label, or it disappeared while the watch was interrupted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) unseen_since: Option<UnixTime>,
}

/// Additions of one event to the totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::sessions) struct Progressed {
    pub(super) restarts: Vec<Restart>,
    /// Stages that the pod has reached, with the seconds since the creation of the pod.
    pub(super) stages: Vec<(Stage, u64)>,
}

/// Maximum number of devices that are remembered. A person can write an annotation with more.
const MAX_DEVICES: usize = 64;

// === impl LiveSession ===

impl LiveSession {
    /// The session of a pod that was not seen before. If the pod is older than the ledger, an earlier server has counted its
    /// restarts and the stages of its start.
    pub(in crate::sessions) fn new(pod: &SessionPod, is_older: bool) -> Self {
        let restarts = if is_older { restarts::counts(pod) } else { BTreeMap::new() };
        let stages = if is_older { BTreeSet::from(Stage::ALL) } else { BTreeSet::new() };
        Self {
            version: 0,
            key: pod.key.clone(),
            names: pod.names.clone(),
            configuration: pod.configuration.clone(),
            phase: pod.shown_phase(),
            pending: None,
            started: None,
            has_run: false,
            is_done: false,
            finished: None,
            deletion_requested: None,
            is_forced: false,
            ran_after_request: false,
            image_failed: false,
            unreachable_since: None,
            restarts,
            stages,
            devices: BTreeSet::new(),
            gpus: pod.gpus,
            runs: SidecarRuns::default(),
            is_counted: false,
            unseen_since: None,
        }
    }

    /// Adds a state of the pod. Returns the restarts and the stages of the start that no earlier state had.
    pub(in crate::sessions) fn observe(&mut self, pod: &SessionPod) -> Progressed {
        if !self.has_run {
            self.names.clone_from(&pod.names);
        }
        self.version = pod.version;
        self.phase = pod.shown_phase();
        self.pending = pending::reason(pod);
        self.started = self.started.or(pod.started);
        self.finished = pod.finished().filter(|_| pod.is_done());
        self.has_run |= pod.shows_run();
        self.image_failed |=
            pod.containers.iter().any(|container| container.is_waiting_for(WaitCause::Image));
        let space = MAX_DEVICES.saturating_sub(self.devices.len());
        self.devices.extend(pod.devices.iter().take(space).cloned());
        // The annotations of the pod can change.
        self.gpus = self.gpus.max(pod.gpus);
        self.runs.observe(pod, self.gpu_count());
        self.observe_interruption(pod);
        Progressed {
            restarts: restarts::observe(&mut self.restarts, pod),
            stages: startup::observe(&mut self.stages, pod),
        }
    }

    /// Remembers whether the node answers, and what came first: the end of the desktop or the request to delete the pod.
    fn observe_interruption(&mut self, pod: &SessionPod) {
        if pod.progress.unreachable.is_none() && !pod.phase.is_terminal() {
            self.unreachable_since = None;
        }
        self.unreachable_since = self.unreachable_since.or(pod.progress.unreachable);
        let Some(deletion) = pod.deletion else {
            self.is_done = pod.is_done();
            return;
        };
        if self.deletion_requested.is_none() {
            self.deletion_requested = Some(deletion.requested);
            self.is_forced = deletion.grace == Some(0);
        }
        self.ran_after_request |=
            pod.desktops().any(|container| container.state.exit().is_none() && container.has_run());
    }

    /// Every device that was allocated to the pod.
    pub fn devices(&self) -> impl Iterator<Item = &AllocatedDevice> {
        self.devices.iter()
    }

    /// Number of GPUs that were allocated to the pod. The creator of a pod can write annotations and labels of a scheduler, so they count only
    /// for a pod whose GPUs the kubelet may not know.
    pub(super) fn gpu_count(&self) -> u32 {
        let counts = |device: &&AllocatedDevice| match device.source {
            DeviceSource::Kubelet | DeviceSource::ClaimDevice => true,
            DeviceSource::Hami | DeviceSource::Reservation => self.gpus == GpuVisibility::Unlisted,
            DeviceSource::Claim => false,
        };
        let count = self.devices.iter().filter(counts).count();
        u32::try_from(count).map_or(NODE_DEVICES, |count| count.min(NODE_DEVICES))
    }

    /// Seconds from the start of the session to `end`; `None` if no desktop container ran.
    pub(super) fn duration(&self, end: UnixTime) -> Option<u64> {
        // The node's clock wrote the start; the server's clock may have written the end.
        self.started.filter(|_| self.has_run).map(|started| end.seconds_since(started))
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
