//! The decision: whether a pod gets the sidecar.

mod claims;
mod gpu_request;
mod identity;
mod nodes;
mod notice;
mod overrides;
mod patterns;
pub(super) mod plan;
pub(super) mod ports;
mod resources;

use super::{
    namespaces::NamespaceLimits,
    outcome::SkipReason,
    pod::{ContainerView, PodView},
    ruleset::Ruleset,
};
use crate::contract::{CONTAINER, key};

pub(super) use identity::IdentityField;
pub use notice::Notice;
pub(super) use plan::Plan;

/// Decision for a pod.
#[derive(Debug)]
pub(super) enum Decision<'p> {
    /// Add the sidecar.
    Inject(Plan<'p>),
    /// Check the sidecar that the pod already has: another webhook may have changed it. `None` if the sidecar was injected
    /// with another configuration, or if the pod would be skipped now.
    Inspect(Option<Plan<'p>>),
    /// Add no sidecar.
    Skip(SkipReason),
}

/// Namespaces of the control plane. The shipped webhook configuration excludes them too; this check still applies if an
/// operator changes the selectors.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Decides on one pod. The API server has already checked, by the selectors of the webhook configuration, that the pod is
/// opted in.
pub(super) fn decide<'p>(
    pod: &'p PodView<'_>,
    namespace: &str,
    limits: Option<&NamespaceLimits>,
    ruleset: &'p Ruleset,
    notices: &mut Vec<Notice>,
) -> Decision<'p> {
    let skip_reason = skip_reason(pod, namespace);
    if let Some(hash) = injected_config(pod) {
        let is_current = hash == ruleset.hash && skip_reason.is_none();
        return Decision::Inspect(
            is_current.then(|| Plan::new(pod, limits, ruleset, notices).ok()).flatten(),
        );
    }
    match skip_reason.map_or_else(|| Plan::new(pod, limits, ruleset, notices), Err) {
        Ok(_) if ruleset.settings.paused => Decision::Skip(SkipReason::Paused),
        Ok(plan) => Decision::Inject(plan),
        Err(reason) => Decision::Skip(reason),
    }
}

/// The hash of the configuration that the sidecar was injected with; `None` if the pod has no sidecar.
///
/// A copy of an injected pod may have no annotations (`kubectl debug --copy-to`). The sidecar in it is recognised by the name of
/// its port. Its hash is empty.
fn injected_config<'p>(pod: &'p PodView<'_>) -> Option<&'p str> {
    let mut sidecars = pod.containers().filter(|container| container.name == CONTAINER).peekable();
    sidecars.peek()?;
    let is_copy = sidecars.any(declares_own_port);
    pod.annotation(key::CONFIG).or_else(|| is_copy.then_some(""))
}

/// Whether the container declares a port with the sidecar's name.
fn declares_own_port(container: &ContainerView<'_>) -> bool {
    container.ports.iter().flatten().any(|port| port.name.as_deref() == Some(CONTAINER))
}

/// The first reason that applies. The reasons are in the order of precedence.
fn skip_reason(pod: &PodView<'_>, namespace: &str) -> Option<SkipReason> {
    let is_opted_out = [pod.label(key::INJECT), pod.annotation(key::INJECT)].contains(&Some(key::DISABLED));
    [
        (is_opted_out, SkipReason::OptedOut),
        (SYSTEM_NAMESPACES.contains(&namespace), SkipReason::SystemNamespace),
        (pod.annotation("kubernetes.io/config.mirror").is_some(), SkipReason::MirrorPod),
        (is_name_taken(pod), SkipReason::NameTaken),
        (pod.label("kubevirt.io").is_some(), SkipReason::Kubevirt),
        (nodes::is_windows(pod), SkipReason::Windows),
        (pod.spec.host_network == Some(true), SkipReason::HostNetwork),
    ]
    .into_iter()
    .find_map(|(applies, reason)| applies.then_some(reason))
}

/// Whether another container, volume or port has the sidecar's name. A Service that selects the port by this name would route
/// its clients to the sidecar.
fn is_name_taken(pod: &PodView<'_>) -> bool {
    let container = || pod.containers().any(|container| container.name == CONTAINER);
    let volume = || pod.spec.volumes.iter().flatten().any(|volume| volume.is_named(CONTAINER));
    let port = || pod.others().any(declares_own_port);
    injected_config(pod).is_none() && (container() || volume() || port())
}
