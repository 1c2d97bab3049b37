//! The gate of injection: while sidecars do not start, it keeps admission from adding more of them.

use std::fmt::Debug;

/// Decides whether a pod may get the sidecar now. Admission calls it once for each pod that would get one, after every other
/// check, and never waits for it.
pub trait InjectionGate: Debug + Send + Sync {
    /// Whether injection is paused for this pod.
    fn is_paused(&self, request: &InjectionRequest<'_>) -> bool;
}

/// A pod that would get the sidecar.
#[derive(Debug, Clone, Copy)]
pub struct InjectionRequest<'r> {
    /// The template that the sidecar would show; none if the pod has none.
    pub template: Option<&'r str>,
    /// Hash of the configuration, as in the annotation `vdi-metrics.io/config`.
    pub config: &'r str,
    /// Whether the request is a dry run, so that no pod is created.
    pub is_dry_run: bool,
}

/// A gate that never pauses injection, for decisions outside of the server.
#[derive(Debug, Clone, Copy)]
pub struct OpenGate;

impl InjectionGate for OpenGate {
    fn is_paused(&self, _: &InjectionRequest<'_>) -> bool {
        false
    }
}
