//! Generated session pods as the API server stores them: after admission, with the status and the managed fields of a kubelet.

use anyhow::{Context, Result};
use kit::desktop::{Size, review};
use serde_json::{Value, json};
use vdi_metrics::{
    admission::{Injector, Namespaces, Settings},
    contract::{CONTAINER, key},
};

/// Places in the text of a pod: the number of the pod, and the resource version.
const NUMBER: &str = "000000";
const VERSION: &str = "777777777777";

/// The templates of the sessions.
const TEMPLATES: usize = 20;
const TEMPLATE: &str = "template-99";

/// A time of the API before every run.
const CREATED: &str = "2026-01-01T00:00:00Z";
const STARTED: &str = "2026-01-01T00:00:02Z";
const ENDED: &str = "2026-01-01T04:00:00Z";

/// The texts of a pod's life.
#[derive(Debug)]
pub(crate) struct PodTexts {
    /// The running pod.
    running: String,
    /// Type and object of each event from the creation to the running desktop.
    start: Vec<(&'static str, String)>,
    /// Type and object of each event from the request to delete the pod to its removal.
    end: Vec<(&'static str, String)>,
}

/// The pod in one state of its life.
struct State {
    /// Whether the pod has a node.
    is_scheduled: bool,
    /// The status; an empty object before the kubelet's first one.
    status: Value,
    /// `deletionGracePeriodSeconds`.
    grace: Option<u32>,
}

// === impl PodTexts ===

impl PodTexts {
    pub(crate) fn new() -> Result<Self> {
        let base = base()?;
        let text = |state: State| state.text(&base);
        let pending =
            || State { is_scheduled: true, status: status("Pending", &waiting(), &waiting()), grace: None };
        let initialized = || State { status: status("Pending", &running(), &waiting()), ..pending() };
        let runs = || State { status: status("Running", &running(), &running()), ..pending() };
        let stops = || State { grace: Some(30), ..runs() };
        let ended = || State { status: status("Failed", &sidecar_exited(), &exited(143)), ..stops() };
        let created = State {
            is_scheduled: false,
            status: json!({"phase": "Pending", "qosClass": "Burstable"}),
            grace: None,
        };
        let scheduled = State {
            is_scheduled: true,
            status: json!({"phase": "Pending", "qosClass": "Burstable"}),
            grace: None,
        };
        let removed = || text(State { grace: Some(0), ..ended() });
        Ok(Self {
            running: text(runs()),
            start: vec![
                ("ADDED", text(created)),
                ("MODIFIED", text(scheduled)),
                ("MODIFIED", text(pending())),
                ("MODIFIED", text(initialized())),
                ("MODIFIED", text(runs())),
            ],
            end: vec![
                ("MODIFIED", text(stops())),
                ("MODIFIED", text(State { status: status("Running", &running(), &exited(143)), ..stops() })),
                ("MODIFIED", text(ended())),
                ("MODIFIED", removed()),
                ("DELETED", removed()),
            ],
        })
    }

    /// The JSON of the running pod with this number.
    pub(crate) fn running(&self, number: usize) -> String {
        filled(&self.running, number, 1)
    }

    /// The events of the start of a pod, or of its end; the first one has the resource version after `version`.
    pub(crate) fn events(&self, number: usize, is_end: bool, version: u64) -> Vec<String> {
        let events = if is_end { &self.end } else { &self.start };
        let event = |(kind, object): &(&str, String), version| {
            format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", filled(object, number, version))
        };
        events.iter().zip(version + 1..).map(|(of_pod, version)| event(of_pod, version)).collect()
    }

    /// Events of one life.
    pub(crate) fn events_of_life(&self) -> usize {
        self.start.len() + self.end.len()
    }
}

fn filled(text: &str, number: usize, version: u64) -> String {
    text.replace(NUMBER, &format!("{number:06}"))
        .replace(VERSION, &version.to_string())
        .replace(TEMPLATE, &format!("template-{}", number % TEMPLATES))
}

/// The pod after admission.
fn base() -> Result<Value> {
    let review: Value = serde_json::from_slice(&review(Size::Medium))?;
    let mut pod = review["request"]["object"].clone();
    let labels = &mut pod["metadata"]["labels"];
    labels[key::TEMPLATE] = json!(TEMPLATE);
    labels[key::POOL] = json!("pool-1");
    let injector = Injector::new(Settings::default());
    let decision = injector.consider(pod.to_string().as_bytes(), "desktops", &Namespaces::default());
    json_patch::patch(&mut pod, &decision.patch.context("the pod is not injected")?)?;
    let metadata = &mut pod["metadata"];
    metadata["name"] = json!(format!("desktop-alice-{NUMBER}"));
    metadata["uid"] = json!(format!("7d1c7a56-3c1e-4d2a-9b1f-000000{NUMBER}"));
    metadata["resourceVersion"] = json!(VERSION);
    Ok(pod)
}

fn waiting() -> Value {
    json!({"waiting": {"reason": "PodInitializing"}})
}

fn running() -> Value {
    json!({"running": {"startedAt": STARTED}})
}

fn exited(code: u8) -> Value {
    json!({"terminated": {"exitCode": code, "reason": "Error", "startedAt": STARTED, "finishedAt": ENDED,
        "containerID": format!("containerd://{NUMBER}{}", "d".repeat(58))}})
}

fn sidecar_exited() -> Value {
    let message = json!({"v": 2, "session": 1_767_225_602, "start": 1_767_225_602, "end": 1_767_240_000, "ended": true,
        "by": ["device", "high"],
        "gpus": [{"gpu": "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035", "scope": "session", "allocated": 14_398,
            "busy": 5210.5, "joules": 1_203_456, "peak": 6_442_450_944_u64}]});
    let mut state = exited(0);
    state["terminated"]["message"] = json!(message.to_string());
    state
}

/// The status that a kubelet writes.
fn status(phase: &str, sidecar: &Value, desktop: &Value) -> Value {
    let condition = |kind: &str| json!({"type": kind, "observedGeneration": 1, "status": "True", "lastProbeTime": null, "lastTransitionTime": STARTED});
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let container = |name: &str, state: &Value| {
        json!({"name": name, "state": state, "lastState": {}, "ready": true, "restartCount": 0, "started": true,
            "image": format!("registry.example.com/desktops/{name}:24.04"),
            "imageID": format!("registry.example.com/desktops/{name}@sha256:{}", "a".repeat(64)),
            "containerID": format!("containerd://{NUMBER}{}", "c".repeat(58)),
            "resources": {"limits": {"cpu": "4", "memory": "8Gi"}, "requests": {"cpu": "2", "memory": "8Gi"}},
            "allocatedResources": {"cpu": "2", "memory": "8Gi"},
            "user": {"linux": {"uid": 1000, "gid": 1000, "supplementalGroups": [1000]}},
            "volumeMounts": [{"name": "volume-0", "mountPath": "/mnt/volume-0"},
                {"name": "volume-1", "mountPath": "/mnt/volume-1"}, {"name": "volume-2", "mountPath": "/mnt/volume-2"}]})
    };
    let mut of_desktop = container("desktop", desktop);
    of_desktop["allocatedResourcesStatus"] = json!([{"name": "nvidia.com/gpu", "resources":
        [{"resourceID": format!("GPU-{NUMBER}00-0c3a-4f6e-9b7d-21a4c8e6f035", ), "health": "Healthy"}]}]);
    json!({"phase": phase, "observedGeneration": 1, "conditions": conditions.map(condition),
        "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}], "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}],
        "startTime": CREATED, "qosClass": "Burstable",
        "initContainerStatuses": [container(CONTAINER, sidecar)], "containerStatuses": [of_desktop]})
}

/// The managed fields of the status.
fn managed(status: &Value) -> Value {
    let fields = fields(status);
    json!({"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": STARTED, "fieldsType": "FieldsV1",
        "fieldsV1": {"f:status": fields}, "subresource": "status"})
}

/// The fields of an object, as the API server writes them.
fn fields(value: &Value) -> Value {
    match value {
        Value::Object(of_object) => {
            of_object.iter().map(|(name, value)| (format!("f:{name}"), fields(value))).collect()
        }
        Value::Array(items) if items.iter().all(|item| item.get("type").is_some()) => {
            items.iter().map(|item| (format!("k:{{\"type\":{}}}", item["type"]), fields(item))).collect()
        }
        _ => json!({}),
    }
}

// === impl State ===

impl State {
    fn text(&self, base: &Value) -> String {
        let mut pod = base.clone();
        if self.is_scheduled {
            pod["spec"]["nodeName"] = json!("node-1");
        }
        if let Some(grace) = self.grace {
            pod["metadata"]["deletionTimestamp"] = json!(ENDED);
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        }
        if let (Some(list), true) =
            (pod["metadata"]["managedFields"].as_array_mut(), self.status["startTime"].is_string())
        {
            list.push(managed(&self.status));
        }
        pod["status"] = self.status.clone();
        pod.to_string()
    }
}
