//! The decision about one pod: whether it counts, and why it has no sidecar.
//!
//! Only the metadata is known. A pod without the label of the sidecar has no sidecar, except a copy of an injected pod that has
//! lost its label.

use std::collections::BTreeMap;

use super::reason::NoSidecarReason;
use crate::{
    admission::{
        SkipReason,
        selection::{Candidate, WebhookEntry},
    },
    contract::key,
};

/// The metadata of a pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct PodMetadata<'m> {
    pub(super) uid: &'m str,
    pub(super) namespace: &'m str,
    pub(super) name: &'m str,
    /// Unix time in seconds.
    pub(super) created: i64,
    /// Whether a client has deleted the pod.
    pub(super) is_terminating: bool,
    pub(super) labels: Option<&'m BTreeMap<String, String>>,
    pub(super) annotations: Option<&'m BTreeMap<String, String>>,
    pub(super) controller: Option<ControllerMetadata<'m>>,
}

/// The owner of a pod that controls it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ControllerMetadata<'m> {
    pub(super) api_version: &'m str,
    pub(super) kind: &'m str,
    pub(super) name: &'m str,
    pub(super) uid: &'m str,
}

/// The label that opts a pod in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OptIn {
    /// The namespace's label.
    Namespace,
    /// The pod's own label.
    Pod,
}

/// The webhook's decision about a pod, by the status annotation. A client can write this annotation too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WebhookMark {
    /// The pod has no decision, or one that this version does not know.
    Absent,
    Injected,
    /// `None`: a skip reason that this version does not know.
    Skipped(Option<SkipReason>),
}

/// The times that decide between two reasons, in Unix seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct OptInTimes {
    /// Since when the pod's namespace is opted in; none if the pod's own label decides.
    pub(super) namespace: Option<i64>,
    /// Creation of the webhook configuration; none if there is none, as with the policy instead of the webhook.
    pub(super) webhook: Option<i64>,
}

/// Why the API server calls the webhook for such a pod; none if it does not.
pub(super) fn opt_in(
    webhooks: &[WebhookEntry],
    pod: &PodMetadata<'_>,
    namespace_opted_in: bool,
) -> Option<OptIn> {
    let namespace_labels = |key: &str| match key {
        key::INJECT => namespace_opted_in.then_some(key::ENABLED),
        "kubernetes.io/metadata.name" => Some(pod.namespace),
        _ => None,
    };
    let candidate = Candidate {
        labels: &|key| pod.labels?.get(key).map(String::as_str),
        annotations: &|key| pod.annotations?.get(key).map(String::as_str),
        namespace_labels: &namespace_labels,
    };
    let is_called = webhooks.iter().any(|webhook| webhook.obstacles(&candidate).is_empty());
    let has_label = (candidate.labels)(key::INJECT) == Some(key::ENABLED);
    is_called.then_some(if has_label { OptIn::Pod } else { OptIn::Namespace })
}

/// The decision in the annotations of a pod.
pub(super) fn mark(pod: &PodMetadata<'_>) -> WebhookMark {
    let status = pod.annotations.and_then(|annotations| annotations.get(key::STATUS));
    match status.map(String::as_str) {
        Some("injected") => WebhookMark::Injected,
        Some(status) => match status.strip_prefix("skipped: ") {
            Some(reason) => WebhookMark::Skipped(SkipReason::parse(reason)),
            None => WebhookMark::Absent,
        },
        None => WebhookMark::Absent,
    }
}

/// Why a pod of this age has no sidecar.
///
/// The API server stores times in seconds, and reads changed namespaces and webhook configurations with a delay. So a pod of
/// the same second counts as created before.
pub(super) fn reason(created: i64, skipped: bool, times: OptInTimes) -> NoSidecarReason {
    let opted_in = times.namespace.max(times.webhook);
    match opted_in {
        _ if skipped => NoSidecarReason::Skipped,
        Some(opted_in) if created <= opted_in => NoSidecarReason::CreatedBefore,
        _ => NoSidecarReason::Missed,
    }
}
