//! The plain values of an injected pod that decide about injection.

use super::reason::BlockReason;

/// An injected pod at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObservedPod {
    pub(super) uid: Box<str>,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    /// Empty before the pod has a node.
    pub(super) node: Box<str>,
    /// Empty if the pod has none.
    pub(super) template: Box<str>,
    /// Hash of the configuration that it was injected with.
    pub(super) config: Box<str>,
    /// Whether annotations of the pod change its sidecar.
    pub(super) has_overrides: bool,
    /// Creation, and the time at which the kubelet accepted the pod, in Unix seconds.
    pub(super) created: i64,
    pub(super) accepted: Option<i64>,
    /// Whether the pod has not started.
    pub(super) is_pending: bool,
    pub(super) sidecar: SidecarCondition,
    /// The object that gets Events about the pod.
    pub(super) subject: PodOwner,
}

/// The sidecar of a pod at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SidecarCondition {
    /// It keeps the pod from starting, or from becoming ready.
    Blocks(BlockReason),
    /// It runs since this Unix time in seconds.
    Runs(i64),
    /// Anything else, such as the usual steps of a start.
    Other,
}

/// The object that controls a pod, otherwise the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodOwner {
    pub(super) api_version: Box<str>,
    pub(super) kind: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
}
