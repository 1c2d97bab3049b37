//! From the API's pod to the ledger's. Only the fields that count are decoded: the watch carries every change of every
//! session, and a whole typed pod is many times its status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::{NotUsed, Object};
use serde::Deserialize;

use super::ledger::{self, Ending, Failure, Phase, UnixTime};
use crate::contract::{CONTAINER, key};

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
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    state: State,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct State {
    terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    exit_code: i32,
    reason: String,
    finished_at: Option<Time>,
}

/// What the ledger wants to know; `None` for an object without uid, which the API server does not send.
pub(super) fn read(pod: &Pod) -> Option<ledger::Pod> {
    let metadata = &pod.metadata;
    let none = Status::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    let value =
        |map: &Option<std::collections::BTreeMap<String, String>>| map.as_ref()?.get(key::TEMPLATE).cloned();
    let deleted = metadata.deletion_timestamp.as_ref().map(unix);
    Some(ledger::Pod {
        uid: metadata.uid.clone()?,
        template: value(&metadata.labels).or_else(|| value(&metadata.annotations)),
        phase: status.phase(),
        started: status.start_time.as_ref().map(unix),
        finished: status.ends().filter_map(|end| end.finished_at.as_ref()).map(unix).max(),
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
        Phase::ALL.into_iter().find(|phase| phase.as_str() == self.phase).unwrap_or(Phase::Unknown)
    }

    /// Ends of the desktop's own containers.
    fn ends(&self) -> impl Iterator<Item = &Terminated> {
        let own = self.container_statuses.iter().filter(|container| container.name != CONTAINER);
        own.filter_map(|container| container.state.terminated.as_ref())
    }

    /// The pod's own reason stands above its containers', and whoever deletes a session does not make it fail: many
    /// desktops answer SIGTERM with another code than 0.
    fn ending(&self, deleted: bool) -> Ending {
        let node_lost = |reason: &str| ["DeletionByPodGC", "DeletionByTaintManager"].contains(&reason);
        let disrupted = self.conditions.iter().find(|condition| condition.kind == "DisruptionTarget");
        match self.reason.as_str() {
            "Evicted" => Ending::Failure(Failure::Evicted),
            "DeadlineExceeded" => Ending::Failure(Failure::DeadlineExceeded),
            "NodeLost" => Ending::Failure(Failure::NodeLost),
            _ if disrupted.is_some_and(|condition| node_lost(&condition.reason)) => {
                Ending::Failure(Failure::NodeLost)
            }
            _ if deleted => Ending::Orderly,
            _ if self.ends().any(|end| end.reason == "OOMKilled") => Ending::Failure(Failure::OutOfMemory),
            _ if self.phase() == Phase::Failed || self.ends().any(|end| end.exit_code != 0) => {
                Ending::Failure(Failure::Error)
            }
            _ => Ending::Orderly,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(metadata: &Value, status: &Value) -> ledger::Pod {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status});
        read(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn exited(code: i32, reason: &str) -> Value {
        let terminated = json!({"exitCode": code, "reason": reason, "finishedAt": "2026-01-01T00:10:00Z"});
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
        let by = |reason: &str| json!([{"type": "DisruptionTarget", "reason": reason}]);
        for (metadata, status, expected) in [
            (
                &here,
                json!({"phase": "Failed", "containerStatuses": exited(3, "Error")}),
                Some(Failure::Error),
            ),
            (
                &here,
                json!({"phase": "Failed", "containerStatuses": exited(137, "OOMKilled")}),
                Some(Failure::OutOfMemory),
            ),
            (&here, json!({"phase": "Failed", "reason": "Evicted"}), Some(Failure::Evicted)),
            (
                &here,
                json!({"phase": "Failed", "reason": "DeadlineExceeded"}),
                Some(Failure::DeadlineExceeded),
            ),
            (&here, json!({"phase": "Failed", "conditions": by("DeletionByPodGC")}), Some(Failure::NodeLost)),
            (&gone, json!({"phase": "Failed", "containerStatuses": exited(143, "Error")}), None),
            (&gone, json!({"phase": "Running", "conditions": by("EvictionByEvictionAPI")}), None),
            (
                &gone,
                json!({"phase": "Running", "conditions": by("DeletionByTaintManager")}),
                Some(Failure::NodeLost),
            ),
        ] {
            let expected = expected.map_or(Ending::Orderly, Ending::Failure);
            assert_eq!(pod(metadata, &status).ending, expected, "{status}");
        }
    }

    #[test]
    fn a_pod_without_status_is_unknown_and_not_ended() {
        let pod = pod(&json!({"uid": "u"}), &Value::Null);
        assert_eq!((pod.phase, pod.started, pod.finished), (Phase::Unknown, None, None));
    }
}
