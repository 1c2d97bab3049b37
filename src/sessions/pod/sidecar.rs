//! The sidecar: the GPU request that admission wrote into its environment, and the runs that have ended.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    spec::Spec,
    status::{ContainerStatus, Status, Terminated, known},
};
use crate::{
    contract::{CONTAINER, GpuRequest, env, key},
    sessions::ledger::{GpuVisibility, SidecarRun},
};

/// Characters of a container's ID that are kept. Two runs of one pod have the same with a probability of 2^-64.
const ID_CHARACTERS: usize = 16;

/// Reasons of a container that never ran, and of one whose end the kubelet does not know. In the message the kubelet explains them.
const START_ERROR: &str = "StartError";
const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

/// What the status can show about the GPUs of the pod. With an annotation about its GPU the sidecar reads a driver without a request.
pub(super) fn gpus(spec: &Spec, metadata: &ObjectMeta) -> GpuVisibility {
    let value = |name: &str| {
        let variable = spec.sidecar()?.iter().find(|variable| variable.name == name)?;
        variable.value.as_deref()
    };
    let has =
        |annotation: &str| metadata.annotations.as_ref().is_some_and(|all| all.contains_key(annotation));
    let is_annotated = has(key::GPU) || has(key::GPU_SHARING);
    let shows_other_devices = is_annotated || value(env::NODE_TOTALS).is_some();
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sessions::pod::WatchedPod;

    #[test]
    fn a_sidecar_with_an_annotation_about_its_gpu_can_have_devices_without_a_request() {
        for (request, annotation, expected) in [
            ("none", key::TEMPLATE, GpuVisibility::None),
            ("none", key::GPU, GpuVisibility::Unlisted),
            ("none", key::GPU_SHARING, GpuVisibility::Unlisted),
            ("device", key::GPU_SHARING, GpuVisibility::Listed),
        ] {
            let sidecar = json!({"name": CONTAINER, "env": [{"name": env::GPU_REQUEST, "value": request}]});
            let pod = json!({"metadata": {"annotations": {annotation: "x"}}, "spec": {"initContainers": [sidecar]}});
            let pod: WatchedPod = serde_json::from_value(pod).unwrap();
            assert_eq!(gpus(&pod.spec, &pod.metadata), expected, "{request}, {annotation}");
        }
    }
}
