//! From the API's pod to the ledger's. Only the fields that count are decoded: the watch carries every change of every
//! session, and a whole typed pod is many times its status.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::{NotUsed, Object};
use serde::{Deserialize, de::IgnoredAny};

use super::ledger::{Ending, Failure, Phase, SessionPod, UnixTime};
use crate::contract::{CONTAINER, MAX_NAME_BYTES, key};

/// A pod without its spec.
pub(super) type Pod = Object<NotUsed, Status>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    phase: String,
    reason: String,
    start_time: Option<Time>,
    conditions: Vec<Condition>,
    container_statuses: Vec<Container>,
}

#[derive(Debug, Clone, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    state: State,
    #[serde(default, rename = "lastState")]
    last_state: State,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<IgnoredAny>,
    terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    exit_code: i32,
    reason: String,
    /// Absent where the container was never seen to run.
    started_at: Option<Time>,
    finished_at: Option<Time>,
}

/// What the pod's own reason says, where it has one.
const REASONS: [(&str, Failure); 11] = [
    ("Evicted", Failure::Evicted),
    ("Preempting", Failure::Evicted),
    ("DeadlineExceeded", Failure::DeadlineExceeded),
    ("NodeLost", Failure::NodeLost),
    ("NodeShutdown", Failure::NodeLost),
    ("Terminated", Failure::NodeLost),
    ("UnexpectedAdmissionError", Failure::Rejected),
    ("NodeAffinity", Failure::Rejected),
    ("OutOfcpu", Failure::Rejected),
    ("OutOfmemory", Failure::Rejected),
    ("OutOfpods", Failure::Rejected),
];

/// What its condition `DisruptionTarget` says, where it is true. Eviction through the API is somebody's deletion.
const DISRUPTIONS: [(&str, Failure); 3] = [
    ("DeletionByPodGC", Failure::NodeLost),
    ("DeletionByTaintManager", Failure::NodeLost),
    ("PreemptionByScheduler", Failure::Evicted),
];

/// What the ledger wants to know; `None` for an object without uid, which the API server does not send.
pub(super) fn read(pod: &Pod) -> Option<SessionPod> {
    let metadata = &pod.metadata;
    let none = Status::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    let value = |map: &Option<BTreeMap<String, String>>| {
        let template = map.as_ref()?.get(key::TEMPLATE)?;
        Some(template[..template.floor_char_boundary(MAX_NAME_BYTES)].to_owned())
    };
    let deleted = metadata.deletion_timestamp.as_ref().map(unix);
    Some(SessionPod {
        uid: metadata.uid.clone()?,
        template: value(&metadata.labels).or_else(|| value(&metadata.annotations)),
        phase: status.phase(),
        started: status.start_time.as_ref().filter(|_| status.has_run()).map(unix),
        finished: status.finished(),
        deleted,
        ending: status.ending(deleted.is_some()),
    })
}

fn unix(time: &Time) -> UnixTime {
    UnixTime(time.0.as_second())
}

// === impl Status ===

impl Status {
    fn phase(&self) -> Phase {
        Phase::parse(&self.phase).unwrap_or(Phase::Unknown)
    }

    /// The desktop's own containers.
    fn own(&self) -> impl Iterator<Item = &Container> {
        self.container_statuses.iter().filter(|container| container.name != CONTAINER)
    }

    fn ends(&self) -> impl Iterator<Item = &Terminated> {
        self.own().filter_map(|container| container.state.terminated.as_ref())
    }

    /// An image that was never pulled is no session, however long somebody waited for it.
    fn has_run(&self) -> bool {
        let ran = |state: &State| {
            state.running.is_some() || state.terminated.as_ref().is_some_and(|end| end.started_at.is_some())
        };
        self.own().any(|container| ran(&container.state) || ran(&container.last_state))
    }

    fn finished(&self) -> Option<UnixTime> {
        let all = self.own().all(|container| container.state.terminated.is_some());
        self.ends().filter_map(|end| end.finished_at.as_ref()).map(unix).max().filter(|_| all)
    }

    /// The pod's own reason stands above its containers', and whoever deletes a session does not make it fail: many
    /// desktops answer SIGTERM with another code than 0.
    fn ending(&self, deleted: bool) -> Ending {
        let told = |table: &[(&str, Failure)], reason: &str| {
            table.iter().find(|(known, _)| *known == reason).map(|(_, failure)| Ending::Failure(*failure))
        };
        let disrupted =
            |condition: &&Condition| condition.kind == "DisruptionTarget" && condition.status == "True";
        let disruption = self.conditions.iter().find(disrupted).map_or("", |condition| &condition.reason);
        told(&REASONS, &self.reason).or_else(|| told(&DISRUPTIONS, disruption)).unwrap_or_else(|| match () {
            () if deleted => Ending::Orderly,
            () if self.ends().any(|end| end.reason == "OOMKilled") => Ending::Failure(Failure::OutOfMemory),
            () if self.phase() == Phase::Failed => Ending::Failure(Failure::Error),
            () => Ending::Orderly,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(metadata: &Value, status: &Value) -> SessionPod {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status});
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
    fn times_are_the_desktops_own() {
        let status = json!({
            "phase": "Succeeded", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": exited(0, "Completed"),
        });
        let pod = pod(&json!({"uid": "u", "labels": {"vdi-metrics.io/template": "cad"}}), &status);
        assert_eq!(pod.finished.unwrap().0 - pod.started.unwrap().0, 600);
        assert_eq!((pod.template.as_deref(), pod.ending), (Some("cad"), Ending::Orderly));
    }

    #[test]
    fn endings_are_told_apart() {
        let gone = json!({"uid": "u", "deletionTimestamp": "2026-01-01T00:10:30Z"});
        let here = json!({"uid": "u"});
        let failed =
            |code, reason: &str| json!({"phase": "Failed", "containerStatuses": exited(code, reason)});
        let said = |reason: &str| json!({"phase": "Failed", "reason": reason});
        let disrupted = |is_so: &str, by: &str| {
            let condition = json!({"type": "DisruptionTarget", "status": is_so, "reason": by});
            json!({"phase": "Running", "conditions": [condition]})
        };
        for (metadata, status, expected) in [
            (&here, failed(3, "Error"), Some(Failure::Error)),
            (&here, failed(137, "OOMKilled"), Some(Failure::OutOfMemory)),
            (&here, said("Evicted"), Some(Failure::Evicted)),
            (&here, said("DeadlineExceeded"), Some(Failure::DeadlineExceeded)),
            (&here, said("Terminated"), Some(Failure::NodeLost)),
            (&here, said("OutOfcpu"), Some(Failure::Rejected)),
            (&here, disrupted("True", "DeletionByPodGC"), Some(Failure::NodeLost)),
            (&gone, disrupted("True", "DeletionByTaintManager"), Some(Failure::NodeLost)),
            (&gone, disrupted("False", "DeletionByTaintManager"), None),
            (&gone, disrupted("True", "PreemptionByScheduler"), Some(Failure::Evicted)),
            (&gone, disrupted("True", "EvictionByEvictionAPI"), None),
            (&gone, failed(143, "Error"), None),
        ] {
            let expected = expected.map_or(Ending::Orderly, Ending::Failure);
            assert_eq!(pod(metadata, &status).ending, expected, "{status}");
        }
    }

    #[test]
    fn a_desktop_has_finished_when_its_last_container_has() {
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
    fn an_image_that_was_never_pulled_is_no_session() {
        let unknown = json!({"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null});
        let desktop = json!([{"name": "desktop", "state": {"terminated": unknown}}]);
        let status = json!({
            "phase": "Failed", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": desktop,
        });
        assert_eq!(pod(&json!({"uid": "u"}), &status).started, None);
    }

    #[test]
    fn a_long_template_is_cut_as_the_sidecar_cuts_it() {
        let annotations = json!({"vdi-metrics.io/template": "x".repeat(1000)});
        let pod = pod(&json!({"uid": "u", "annotations": annotations}), &json!({}));
        assert_eq!(pod.template.unwrap().len(), MAX_NAME_BYTES);
    }

    #[test]
    fn a_pod_without_status_is_unknown_and_not_ended() {
        let pod = pod(&json!({"uid": "u"}), &Value::Null);
        assert_eq!((pod.phase, pod.started, pod.finished), (Phase::Unknown, None, None));
    }
}
