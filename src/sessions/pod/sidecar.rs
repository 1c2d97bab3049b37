//! The sidecar: the GPU request that admission wrote into its environment, and the runs that have ended.

use super::{
    spec::Spec,
    status::{ContainerStatus, Status, Terminated, known},
};
use crate::{
    contract::{CONTAINER, GpuRequest, env},
    sessions::ledger::{GpuVisibility, SidecarRun},
};

/// Characters of a container's ID that are kept. Two runs of one pod have the same with a probability of 2^-64.
const ID_CHARACTERS: usize = 16;

/// Reasons of a container that never ran, and of one whose end the kubelet does not know. In the message the kubelet explains them.
const START_ERROR: &str = "StartError";
const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

/// What the status can show about the GPUs of the pod.
pub(super) fn gpus(spec: &Spec) -> GpuVisibility {
    let value = |name: &str| {
        let variable = spec.sidecar()?.iter().find(|variable| variable.name == name)?;
        variable.value.as_deref()
    };
    let shows_other_devices = value(env::NODE_TOTALS).is_some();
    match value(env::GPU_REQUEST).and_then(GpuRequest::parse) {
        Some(GpuRequest::None) if !shows_other_devices => GpuVisibility::None,
        Some(GpuRequest::Device) => GpuVisibility::Listed,
        Some(GpuRequest::None | GpuRequest::Part | GpuRequest::Claims) | None => GpuVisibility::Unlisted,
    }
}

/// The runs of the sidecar that have ended, the older one first.
pub(super) fn runs(status: &Status) -> Vec<SidecarRun> {
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let Some(sidecar) = all.into_iter().find(|container| container.name == CONTAINER) else { return vec![] };
    let ContainerStatus { state, last_state, .. } = sidecar;
    [&last_state.terminated, &state.terminated].into_iter().flatten().filter_map(run).collect()
}

fn run(end: &Terminated) -> Option<SidecarRun> {
    let id = end.container_id.rsplit('/').next().unwrap_or_default();
    let is_lost = end.reason == STATUS_UNKNOWN;
    if end.reason == START_ERROR || (id.is_empty() && !is_lost) {
        return None;
    }
    let (started, finished) = (known(end.started_at.as_ref()), known(end.finished_at.as_ref()));
    let seconds = started.zip(finished).map_or(0, |(started, finished)| finished.seconds_since(started));
    let message = end.message.clone().filter(|_| !is_lost);
    Some(SidecarRun { id: id.chars().take(ID_CHARACTERS).collect(), message, seconds })
}
