//! Pods as the API server sends them: a desktop with a native sidecar. Fields and values follow pods that were recorded with
//! Kubernetes 1.37.2 and containerd 2.4.2, and for other states the sources of the kubelet, the controllers and containerd.

use serde_json::{Value, json};

/// The time from which the tests count seconds: 2026-01-01T00:00:00Z.
pub(super) const EPOCH: i64 = 1_767_225_600;

/// A time of the API, less than one day after [`EPOCH`].
pub(super) fn at(seconds: i64) -> String {
    format!("2026-01-01T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `pod` with the fields of `changes`: a JSON merge patch.
pub(super) fn with(mut pod: Value, changes: &Value) -> Value {
    json_patch::merge(&mut pod, changes);
    pod
}

fn condition(kind: &str, status: &str, seconds: i64) -> Value {
    json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": at(seconds)})
}

/// Created at 0, not scheduled yet.
pub(super) fn created() -> Value {
    let sidecar = json!({"name": "vdi-metrics", "image": "vdi-metrics-sidecar:1", "restartPolicy": "Always",
        "env": [{"name": "VDI_METRICS_TEMPLATE",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels['vdi-metrics.io/template']"}}}]});
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "desktop", "namespace": "desktops", "uid": "u", "creationTimestamp": at(0),
            "labels": {"vdi-metrics.io/injected": "true", "vdi-metrics.io/template": "cad"}},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 30,
            "initContainers": [sidecar], "containers": [{"name": "desktop", "image": "desktop:1"}]},
        "status": {"phase": "Pending", "qosClass": "Burstable"}})
}

/// Accepted by the kubelet at 0, no container runs.
pub(super) fn accepted() -> Value {
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let status = json!({"phase": "Pending", "startTime": at(0),
        "conditions": [condition("PodScheduled", "True", 0), condition("Initialized", "False", 0),
            condition("ContainersReady", "False", 0), condition("Ready", "False", 0)],
        "initContainerStatuses": [{"name": "vdi-metrics", "state": waiting("PodInitializing"), "lastState": {}, "restartCount": 0}],
        "containerStatuses": [{"name": "desktop", "state": waiting("PodInitializing"), "lastState": {}, "restartCount": 0}]});
    with(created(), &json!({"spec": {"nodeName": "node-1"}, "status": status}))
}

/// Accepted at 0, desktop started at 5, ready at 6.
pub(super) fn running() -> Value {
    let conditions = json!([
        condition("PodScheduled", "True", 0),
        condition("Initialized", "True", 2),
        condition("ContainersReady", "True", 6),
        condition("Ready", "True", 6)
    ]);
    let pod = with(accepted(), &json!({"status": {"phase": "Running", "conditions": conditions}}));
    let pod = with(pod, &sidecar(&json!({"running": {"startedAt": at(2)}})));
    with(pod, &desktop(&json!({"running": {"startedAt": at(5)}})))
}

/// The state of the sidecar.
pub(super) fn sidecar(state: &Value) -> Value {
    json!({"status": {"initContainerStatuses": [
        {"name": "vdi-metrics", "state": state, "lastState": {}, "ready": true, "restartCount": 0, "started": true},
    ]}})
}

/// The state of the only desktop container.
pub(super) fn desktop(state: &Value) -> Value {
    json!({"status": {"containerStatuses": [
        {"name": "desktop", "state": state, "lastState": {}, "ready": true, "restartCount": 0, "started": true},
    ]}})
}

/// The state of a container that started at 5 and exited.
pub(super) fn exited(code: i32, reason: &str, finished: i64) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": at(5), "finishedAt": at(finished),
        "containerID": "containerd://d1"}})
}

/// The state of a container that the runtime cannot locate: it has no times.
pub(super) fn status_unknown() -> Value {
    json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null,
        "message": "The container could not be located when the pod was terminated"}})
}

/// `pod` after its desktop exited at `finished`; the sidecar still runs.
pub(super) fn after_exit(pod: Value, code: i32, reason: &str, finished: i64) -> Value {
    with(pod, &desktop(&exited(code, reason, finished)))
}

/// `pod` in its last phase. The sidecar has ended a second after the desktop.
pub(super) fn in_phase(pod: Value, phase: &str) -> Value {
    with(pod, &json!({"status": {"phase": phase}}))
}

/// `pod` whose deletion was requested at `requested`.
pub(super) fn deleted(pod: Value, requested: i64, grace: i64) -> Value {
    with(
        pod,
        &json!({"metadata": {
            "deletionTimestamp": at(requested + grace), "deletionGracePeriodSeconds": grace,
        }}),
    )
}

/// `pod` with a condition `DisruptionTarget`.
pub(super) fn disrupted(mut pod: Value, reason: &str, seconds: i64) -> Value {
    let mut disruption = condition("DisruptionTarget", "True", seconds);
    disruption["reason"] = json!(reason);
    pod["status"]["conditions"].as_array_mut().expect("an accepted pod").push(disruption);
    pod
}

/// `pod` as the kubelet rejects it: Failed, without container statuses and without most conditions.
pub(super) fn refused(pod: Value, reason: &str) -> Value {
    let conditions = json!([condition("PodScheduled", "True", 0), condition("Ready", "False", 0)]);
    with(
        pod,
        &json!({"status": {"phase": "Failed", "reason": reason, "message": "Pod was rejected: no space",
        "conditions": conditions, "initContainerStatuses": null, "containerStatuses": null}}),
    )
}
