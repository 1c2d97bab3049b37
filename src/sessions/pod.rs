//! Converts a pod of the API into a session pod of the ledger. Only the fields that the ledger needs are decoded: the watch
//! receives every change of every session, and a fully typed pod is many times as large.

mod conditions;
mod containers;
pub(super) mod devices;
mod identity;
mod restart_policy;
mod sidecar;
mod spec;
mod start;
mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, Object};

use super::ledger::{Deletion, PodKey, SessionPod, UnixTime};
use crate::contract::key;

use spec::Spec;
pub(crate) use start::PodStart;
use status::Status;

/// A pod as the watch decodes it.
pub(crate) type WatchedPod = Object<Spec, Status>;

/// The API resource of pods.
pub(crate) fn resource() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&())
}

/// The start of the pod, for the breaker.
pub(crate) fn start(pod: &WatchedPod) -> PodStart<'_> {
    start::start(&pod.metadata, &pod.spec, pod.status.as_ref())
}

/// Whether the pod has the label by which the watch selects.
pub(super) fn is_selected(pod: &WatchedPod) -> bool {
    pod.metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(key::INJECTED))
        .is_some_and(|value| value == "true")
}

/// The pod for the ledger. `None` for an object without UID; the API server sends no such object.
pub(super) fn read(pod: &WatchedPod) -> Option<SessionPod> {
    let (metadata, spec) = (&pod.metadata, &pod.spec);
    let unknown = Status::default();
    let status = pod.status.as_ref().unwrap_or(&unknown);
    Some(SessionPod {
        uid: metadata.uid.clone()?,
        key: PodKey {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        },
        version: metadata.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or(0),
        names: identity::names(spec, metadata),
        configuration: identity::configuration(metadata),
        created: metadata.creation_timestamp.as_ref().map_or(UnixTime(0), status::unix),
        phase: status.phase(),
        reason: status.reason(),
        started: status.start_time.as_ref().map(status::unix),
        deletion: deletion(metadata),
        has_finalizers: metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty()),
        disruption: conditions::disruption(status),
        progress: conditions::progress(status, !spec.node_name.is_empty()),
        containers: containers::containers(spec, status),
        devices: devices::devices(metadata, spec, status),
        gpus: sidecar::gpus(spec, metadata),
        sidecar_runs: sidecar::runs(status),
    })
}

/// The request to delete the pod. The deletion timestamp of the API lies one grace period after the request.
fn deletion(metadata: &ObjectMeta) -> Option<Deletion> {
    let timestamp = status::unix(metadata.deletion_timestamp.as_ref()?);
    let grace = metadata.deletion_grace_period_seconds;
    Some(Deletion { requested: UnixTime(timestamp.0 - grace.unwrap_or(0)), grace })
}
