//! Session pods, and the status that a kubelet writes at each step of a session.

use kit::cluster::Cluster;
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, env, key};

use super::words::DEVICE;
use crate::support::own_control_plane::OPTED_IN;

/// The node of all sessions.
pub(super) const NODE: &str = "chaos";

/// A state of a pod as its kubelet shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) phase: &'static str,
    /// Reason of the pod; empty for none.
    pub(super) reason: &'static str,
    /// Reason of the condition `DisruptionTarget`; empty for none.
    pub(super) disruption: &'static str,
    pub(super) desktop: Container,
    pub(super) sidecar: Container,
    /// Earlier exits of the desktop in this pod: the code and the reason of the last one, and the number.
    pub(super) restarts: Option<(i64, &'static str, u32)>,
}

/// A container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    /// The pod has no status of the container.
    Absent,
    /// It waits with this reason.
    Waits(&'static str),
    Runs,
    /// It exited with this code and reason.
    Exited(i64, &'static str),
    /// The runtime cannot locate it.
    Lost,
}

/// What the states of one session have in common. Times are Unix seconds: a kubelet writes times with this resolution.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Start of the session.
    pub(super) started: i64,
    /// End of the containers, or the time of the disruption.
    pub(super) ended: i64,
    /// Whether the session has a device.
    pub(super) has_device: bool,
    /// Termination message of the sidecar.
    pub(super) message: Option<String>,
}

/// The resource that a session with a device requests.
const GPU: &str = "nvidia.com/gpu";

/// The kubelet has accepted the pod.
pub(super) const ACCEPTED: State = State {
    phase: "Pending",
    reason: "",
    disruption: "",
    desktop: Container::Waits("PodInitializing"),
    sidecar: Container::Waits("PodInitializing"),
    restarts: None,
};

/// The desktop is ready.
pub(super) const RUNNING: State =
    State { phase: "Running", desktop: Container::Runs, sidecar: Container::Runs, ..ACCEPTED };

/// A session pod.
pub(super) fn pod(name: &str, names: [&str; 2], restart_policy: &str, has_device: bool) -> Value {
    let [template, pool] = names;
    let variable = |name: &str, label: &str| {
        let path = format!("metadata.labels['{label}']");
        json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
    };
    let request = json!({"name": env::GPU_REQUEST, "value": if has_device { "device" } else { "none" }});
    let environment = [variable(env::TEMPLATE, key::TEMPLATE), variable(env::POOL, key::POOL), request];
    let limits = if has_device { json!({GPU: "1"}) } else { json!({}) };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": OPTED_IN,
            "labels": {key::INJECTED: "true", key::TEMPLATE: template, key::POOL: pool}},
        "spec": {"nodeName": NODE, "restartPolicy": restart_policy, "terminationGracePeriodSeconds": 30,
            "automountServiceAccountToken": false,
            "initContainers": [{"name": CONTAINER, "image": "sidecar:1", "restartPolicy": "Always", "env": environment}],
            "containers": [{"name": "desktop", "image": "desktop:1", "resources": {"limits": limits}}]},
    })
}

/// The node. The scheduler must not use it for other pods.
pub(super) fn create_node(cluster: &Cluster) -> anyhow::Result<()> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "spec": {"unschedulable": true}});
    cluster.kubectl.apply(&node.to_string()).map(drop)
}

/// A time of the API.
pub(super) fn timestamp(seconds: i64) -> String {
    k8s_openapi::jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

// === impl State ===

impl State {
    /// The status as a JSON merge patch.
    pub(super) fn status(&self, facts: &Facts) -> Value {
        let ready = self.desktop == Container::Runs;
        let runs = matches!(self.desktop, Container::Runs | Container::Exited(..));
        let condition = |kind: &str, is: bool, at: i64| json!({"type": kind, "status": if is { "True" } else { "False" }, "lastTransitionTime": timestamp(at)});
        let mut conditions = vec![
            condition("PodScheduled", true, facts.started),
            condition("Initialized", runs, facts.started),
            condition("ContainersReady", ready, facts.started),
            condition("Ready", ready, facts.started),
        ];
        if !self.disruption.is_empty() {
            let mut disruption = condition("DisruptionTarget", true, facts.ended);
            disruption["reason"] = json!(self.disruption);
            conditions.push(disruption);
        }
        let reason = Some(self.reason).filter(|reason| !reason.is_empty());
        json!({"status": {"phase": self.phase, "reason": reason, "startTime": timestamp(facts.started),
            "conditions": conditions,
            "initContainerStatuses": self.sidecar.status(CONTAINER, facts, None),
            "containerStatuses": self.desktop.status("desktop", facts, self.restarts)}})
    }
}

// === impl Container ===

impl Container {
    fn status(self, name: &str, facts: &Facts, restarts: Option<(i64, &str, u32)>) -> Option<Value> {
        let exited = |code: i64, reason: &str, at: i64| {
            let message = facts.message.as_ref().filter(|_| name == CONTAINER);
            json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": timestamp(facts.started),
                "finishedAt": timestamp(at), "containerID": format!("containerd://{name}"), "message": message}})
        };
        let state = match self {
            Self::Absent => return None,
            Self::Waits(reason) => json!({"waiting": {"reason": reason}}),
            Self::Runs => json!({"running": {"startedAt": timestamp(facts.started)}}),
            Self::Exited(code, reason) => exited(code, reason, facts.ended),
            Self::Lost => json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown",
                "startedAt": null, "finishedAt": null}}),
        };
        let mut status = json!({"name": name, "image": name, "imageID": name, "ready": self == Self::Runs,
            "restartCount": 0, "state": state});
        if let Some((code, reason, count)) = restarts {
            status["restartCount"] = json!(count);
            status["lastState"] = exited(code, reason, facts.started);
        }
        if facts.has_device && name != CONTAINER {
            let device = json!({"resourceID": DEVICE, "health": "Healthy"});
            status["allocatedResourcesStatus"] = json!([{"name": GPU, "resources": [device]}]);
        }
        Some(json!([status]))
    }
}
