//! The data of an explanation. Its field names are the interface of `explain --output json`.

use json_patch::Patch;
use serde::Serialize;

use crate::{
    admission::selection::{Candidate, WebhookEntry},
    cli::{
        cluster_state::Labels,
        manifest::Node,
        pod::{patch, sidecar},
    },
};

/// The explanation of one pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation {
    pub(super) object: String,
    pub(super) namespace: String,
    pub(super) injected: bool,
    /// The label, annotation, selector or reason that decides.
    pub(super) rule: String,
    pub(super) webhooks: Vec<WebhookCall>,
    /// The webhook's answer if the API server calls it.
    pub(super) answer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) adds: Option<SidecarPreview>,
    pub(super) notices: Vec<String>,
    pub(super) advice: Vec<String>,
}

/// Whether the API server calls one webhook of the configuration, and the selectors and conditions that prevent the call.
#[derive(Debug, Serialize)]
pub(super) struct WebhookCall {
    pub(super) name: String,
    /// Whether the API server calls the webhook.
    #[serde(rename = "asked")]
    pub(super) is_called: bool,
    pub(super) obstacles: Vec<String>,
}

/// The additions to a pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SidecarPreview {
    pub(super) port: String,
    pub(super) resources: Option<Node>,
    /// Environment variables of the session's identity, each with the field that gives its value.
    pub(super) identity: Vec<(String, String)>,
    /// Pull secrets, which only the server adds; `inject` leaves them out.
    pub(super) pull_secrets: Vec<String>,
    pub(super) container: Node,
    pub(super) volume: Option<Node>,
}

// === impl WebhookCall ===

impl WebhookCall {
    pub(super) fn of(webhook: &WebhookEntry, pod: &Node, namespace: &Labels) -> Self {
        let of_pod = |map: &str, key: &str| pod.at(&["metadata", map, key]);
        let obstacles = webhook.obstacles(&Candidate {
            labels: &|key| of_pod("labels", key)?.as_str(),
            // The condition for mirror pods tests only whether the annotation exists, so a value that is not a string counts
            // too.
            annotations: &|key| of_pod("annotations", key).map(|value| value.as_str().unwrap_or_default()),
            namespace_labels: &|key| {
                namespace.iter().find(|(name, _)| name == key).map(|(_, value)| &**value)
            },
        });
        Self { name: webhook.name.clone(), is_called: obstacles.is_empty(), obstacles }
    }
}

// === impl SidecarPreview ===

impl SidecarPreview {
    /// The additions that `patch` makes to `pod`.
    pub(super) fn of(pod: &Node, patch: Option<&Patch>) -> Option<Self> {
        let mut pod = pod.clone();
        patch::apply_all(&mut pod, patch);
        let container = sidecar::container(&pod)?.clone();
        let port = container.at(&["ports", "0", "containerPort"]).map(Node::json).unwrap_or_default();
        let environment = container.get("env").and_then(Node::items).unwrap_or_default();
        let identity = environment.iter().filter_map(|variable| {
            let field = variable.at(&["valueFrom", "fieldRef", "fieldPath"])?.as_str()?;
            Some((variable.get("name")?.as_str()?.to_owned(), field.to_owned()))
        });
        Some(Self {
            port: String::from_utf8_lossy(&port).into_owned(),
            resources: container.get("resources").cloned(),
            identity: identity.collect(),
            pull_secrets: patch::pull_secrets(patch),
            volume: sidecar::volume(&pod).cloned(),
            container,
        })
    }
}
