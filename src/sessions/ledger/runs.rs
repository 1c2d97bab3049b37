//! The runs of the sidecar in one pod: the totals of each run count once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    container::{ContainerRole, RunState},
    session::{GpuVisibility, SessionPod, SidecarRun},
};
use crate::sessions::usage::{MissingReason, RunLimits, SessionUsage, Usage};

/// What is known of the runs of the sidecar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SidecarRuns {
    /// IDs of the containers in the last status that are counted already. A status shows at most two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ids: Vec<String>,
    /// Number of runs that are counted.
    #[serde(skip_serializing_if = "is_zero")]
    counted: u32,
    /// Number of runs that the kubelet has started.
    #[serde(skip_serializing_if = "is_zero")]
    started: u32,
    /// Seconds of the runs that are counted.
    #[serde(skip_serializing_if = "is_zero")]
    seconds: u64,
    #[serde(skip_serializing_if = "SessionUsage::is_empty")]
    usage: SessionUsage,
    /// Runs whose totals are not known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    missing: BTreeMap<MissingReason, u32>,
}

/// More devices than a node has. A pod whose devices the status does not show can have held any of them.
pub(super) const NODE_DEVICES: u32 = 16;

/// Seconds by which the sidecar can end later than the desktop.
const STOP_SECONDS: u64 = 60;

// === impl SidecarRuns ===

impl SidecarRuns {
    /// Counts the runs that have ended since the last status. The kubelet keeps the latest two.
    pub(super) fn observe(&mut self, pod: &SessionPod, devices: u32) {
        if let Some(sidecar) = pod.of_role(ContainerRole::Sidecar).next() {
            let is_started = !matches!(sidecar.state, RunState::Waiting(_)) && sidecar.has_run();
            self.started = self.started.max(sidecar.restarts + u32::from(is_started));
        }
        for run in &pod.sidecar_runs {
            if !self.ids.contains(&run.id) {
                self.count(run, pod.gpus, devices);
            }
        }
        // A restarted node removes the runs from the status.
        if !pod.sidecar_runs.is_empty() {
            self.ids = pod.sidecar_runs.iter().map(|run| run.id.clone()).collect();
        }
    }

    fn count(&mut self, run: &SidecarRun, gpus: GpuVisibility, devices: u32) {
        self.counted += 1;
        self.seconds = self.seconds.saturating_add(run.seconds);
        let limits = RunLimits { seconds: run.seconds, devices: gpus.limit(devices) };
        if let Some(reason) = self.usage.add(run.message.as_deref(), limits, devices) {
            *self.missing.entry(reason).or_default() += 1;
        }
    }

    /// The usage of the session that ended after this number of seconds, and the number of runs whose totals are not known. Runs that
    /// no status has shown have no totals. Without a duration, because no desktop ran, the time of the runs counts.
    pub(super) fn at_end(
        &self,
        seconds: Option<u64>,
        gpus: GpuVisibility,
        devices: u32,
    ) -> (Usage, BTreeMap<MissingReason, u64>) {
        let mut missing: BTreeMap<_, _> =
            self.missing.iter().map(|(reason, count)| (*reason, u64::from(*count))).collect();
        let mut usage = self.usage.clone();
        let unseen = self.started.saturating_sub(self.counted);
        if unseen > 0 {
            *missing.entry(MissingReason::Absent).or_default() += u64::from(unseen);
            usage.lose_run();
        }
        // The end of a run that the runtime lost is the time at which the runtime runs again.
        let seconds =
            seconds.map_or(self.seconds, |seconds| self.seconds.clamp(seconds, seconds + STOP_SECONDS));
        let limits = RunLimits { seconds, devices: gpus.limit(devices) };
        (usage.at_end(limits, devices), missing)
    }
}

// === impl GpuVisibility ===

impl GpuVisibility {
    /// Maximum number of devices that a pod can have held whose status shows this number.
    fn limit(self, devices: u32) -> u32 {
        match self {
            Self::None => devices,
            Self::Listed if devices > 0 => devices,
            Self::Listed | Self::Unlisted => devices.max(NODE_DEVICES),
        }
    }
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}
