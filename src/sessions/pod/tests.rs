use serde_json::{Value, json};

use super::*;
use crate::{
    contract::MAX_NAME_BYTES,
    sessions::ledger::{Ending, Failure, Phase},
};

fn pod(metadata: &Value, status: &Value) -> SessionPod {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status});
    read(&serde_json::from_value(pod).unwrap()).unwrap()
}

fn exited(code: i32, reason: &str) -> Value {
    let (began, ended) = ("2026-01-01T00:00:05Z", "2026-01-01T00:10:00Z");
    let terminated = json!({"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": ended});
    json!([
        {"name": "desktop", "state": {"terminated": terminated}},
        {"name": "vdi-metrics", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:11:00Z"}}},
    ])
}

#[test]
fn start_and_end_come_from_the_desktop_containers() {
    let status = json!({
        "phase": "Succeeded", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": exited(0, "Completed"),
    });
    let pod = pod(&json!({"uid": "u", "labels": {"vdi-metrics.io/template": "cad"}}), &status);
    assert_eq!(pod.finished.unwrap().0 - pod.started.unwrap().0, 600);
    assert_eq!((pod.template.as_deref(), pod.ending), (Some("cad"), Ending::Orderly));
}

#[test]
fn finalizers_are_read() {
    for (finalizers, expected) in [(json!(null), false), (json!([]), false), (json!(["example.com/x"]), true)]
    {
        let pod = pod(&json!({"uid": "u", "finalizers": finalizers}), &json!({}));
        assert_eq!(pod.has_finalizers, expected);
    }
}

#[test]
fn the_ending_follows_from_pod_reason_disruption_deletion_and_containers() {
    let deleted = json!({"uid": "u", "deletionTimestamp": "2026-01-01T00:10:30Z"});
    let existing = json!({"uid": "u"});
    let failed = |code, reason: &str| json!({"phase": "Failed", "containerStatuses": exited(code, reason)});
    let pod_reason = |reason: &str| json!({"phase": "Failed", "reason": reason});
    let disrupted = |status: &str, reason: &str| {
        let condition = json!({"type": "DisruptionTarget", "status": status, "reason": reason});
        json!({"phase": "Running", "conditions": [condition]})
    };
    for (metadata, status, expected) in [
        (&existing, failed(3, "Error"), Some(Failure::Error)),
        (&existing, failed(137, "OOMKilled"), Some(Failure::OutOfMemory)),
        (&existing, pod_reason("Evicted"), Some(Failure::Evicted)),
        (&existing, pod_reason("DeadlineExceeded"), Some(Failure::DeadlineExceeded)),
        (&existing, pod_reason("Terminated"), Some(Failure::NodeLost)),
        (&existing, pod_reason("OutOfcpu"), Some(Failure::Rejected)),
        (&existing, disrupted("True", "DeletionByPodGC"), Some(Failure::NodeLost)),
        (&deleted, disrupted("True", "DeletionByTaintManager"), Some(Failure::NodeLost)),
        (&deleted, disrupted("False", "DeletionByTaintManager"), None),
        (&deleted, disrupted("True", "PreemptionByScheduler"), Some(Failure::Evicted)),
        (&deleted, disrupted("True", "EvictionByEvictionAPI"), None),
        (&deleted, failed(143, "Error"), None),
    ] {
        let expected = expected.map_or(Ending::Orderly, Ending::Failure);
        assert_eq!(pod(metadata, &status).ending, expected, "{status}");
    }
}

#[test]
fn a_desktop_has_finished_once_its_last_container_has() {
    let mut statuses = exited(0, "Completed");
    let running = json!({"name": "helper", "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}});
    statuses.as_array_mut().unwrap().push(running);
    let status = json!({
        "phase": "Running", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": statuses,
    });
    let pod = pod(&json!({"uid": "u"}), &status);
    assert_eq!((pod.started.is_some(), pod.finished), (true, None));
}

#[test]
fn a_pod_whose_image_was_never_pulled_has_not_started() {
    let unknown =
        json!({"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null});
    let desktop = json!([{"name": "desktop", "state": {"terminated": unknown}}]);
    let status = json!({
        "phase": "Failed", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": desktop,
    });
    assert_eq!(pod(&json!({"uid": "u"}), &status).started, None);
}

#[test]
fn a_long_template_is_truncated() {
    let annotations = json!({"vdi-metrics.io/template": "x".repeat(1000)});
    let pod = pod(&json!({"uid": "u", "annotations": annotations}), &json!({}));
    assert_eq!(pod.template.unwrap().len(), MAX_NAME_BYTES);
}

#[test]
fn a_pod_without_status_has_the_phase_unknown_and_has_not_ended() {
    let pod = pod(&json!({"uid": "u"}), &Value::Null);
    assert_eq!((pod.phase, pod.started, pod.finished), (Phase::Unknown, None, None));
}

#[test]
fn init_containers_and_a_native_sidecar_do_not_change_the_state_of_the_desktop() {
    let running = json!([{"name": "desktop", "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}]);
    let killed = json!({"exitCode": 137, "reason": "OOMKilled", "startedAt": "2026-01-01T00:00:01Z",
        "finishedAt": "2026-01-01T00:00:02Z"});
    let init = json!([
        {"name": "setup", "state": {"terminated": killed}},
        {"name": "vdi-metrics", "state": {"terminated": killed}},
    ]);
    let status = |containers| {
        json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z",
        "containerStatuses": containers, "initContainerStatuses": init})
    };
    let running = pod(&json!({"uid": "u"}), &status(running));
    assert_eq!((running.started.is_some(), running.finished, running.ending), (true, None, Ending::Orderly));
    let waiting = json!([{"name": "desktop", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]);
    assert_eq!(pod(&json!({"uid": "u"}), &status(waiting)).started, None);
}
