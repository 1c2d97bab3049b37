//! The start of a pod: what the breaker needs to see whether the sidecar keeps it from starting.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    identity,
    spec::Spec,
    status::{Status, known, unix},
};
use crate::{contract::CONTAINER, sessions::ledger::Phase};

/// The start of an injected pod at one moment. Times are Unix seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PodStart<'p> {
    /// Empty before the pod has a node.
    pub(crate) node: &'p str,
    /// The template of the session.
    pub(crate) template: Option<&'p str>,
    /// When the kubelet accepted the pod.
    pub(crate) accepted: Option<i64>,
    /// Whether the pod has not started.
    pub(crate) is_pending: bool,
    /// Why the sidecar's container waits; empty if the kubelet gives no reason. None if it does not wait.
    pub(crate) waiting: Option<&'p str>,
    /// Since when the sidecar's container runs.
    pub(crate) running: Option<i64>,
    /// Whether the sidecar's container has ended again after a restart.
    pub(crate) has_crashed: bool,
    /// Whether the pod has ended or was deleted, so that its containers end too.
    pub(crate) is_over: bool,
}

/// The start of the pod.
pub(super) fn start<'p>(
    metadata: &'p ObjectMeta,
    spec: &'p Spec,
    status: Option<&'p Status>,
) -> PodStart<'p> {
    let start = PodStart {
        node: &spec.node_name,
        template: identity::TEMPLATE.of(spec, metadata),
        is_over: metadata.deletion_timestamp.is_some(),
        ..PodStart::default()
    };
    status.map_or(start, |status| with_status(start, status))
}

fn with_status<'p>(start: PodStart<'p>, status: &'p Status) -> PodStart<'p> {
    let mut all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let sidecar = all.find(|container| container.name == CONTAINER);
    let state = sidecar.map(|container| &container.state);
    let running = state.and_then(|state| state.running.as_ref());
    PodStart {
        accepted: status.start_time.as_ref().map(|time| unix(time).0),
        is_pending: status.phase() == Phase::Pending,
        waiting: state.and_then(|state| state.waiting.as_ref()).map(|waiting| &*waiting.reason),
        running: running.and_then(|running| known(running.started_at.as_ref())).map(|time| time.0),
        has_crashed: sidecar.is_some_and(|it| it.restart_count > 0 && it.state.terminated.is_some()),
        is_over: start.is_over || matches!(status.phase(), Phase::Succeeded | Phase::Failed),
        ..start
    }
}
