//! Decides whether the sidecar can run on the nodes that a pod can run on. `policy::nodes` decides the same for the policy.

use crate::admission::pod::{NodeKind, PodView, StringMap};

/// Whether the pod is for Windows: it can run only on Windows nodes, or it can run on both systems and has `windowsOptions`.
/// `windowsOptions` do not prevent a pod from running on Linux, but only pods for Windows have them.
pub(crate) fn is_windows(pod: &PodView<'_>) -> bool {
    can_run_on(pod, NodeKind::WINDOWS) && (has_windows_options(pod) || !can_run_on(pod, NodeKind::LINUX))
}

/// Whether none of the Linux nodes of the pod can run the sidecar: each is a virtual node or has another architecture.
pub(crate) fn exclude_sidecar(pod: &PodView<'_>, architectures: &[String]) -> bool {
    let can_run = |arch: &String| can_run_on(pod, NodeKind { arch: Some(arch), ..NodeKind::LINUX });
    can_run_on(pod, NodeKind::LINUX) && !architectures.iter().any(can_run)
}

fn has_windows_options(pod: &PodView<'_>) -> bool {
    let of_pod = pod.spec.security_context.as_ref().and_then(|context| context.windows_options);
    let mut containers = pod.containers().filter_map(|container| container.security_context.as_ref());
    of_pod.is_some() || containers.any(|context| context.windows_options.is_some())
}

/// Whether a node of this kind can match the pod's constraints. Only labels that depend on the kind are compared, because a
/// node of any kind can have any other label.
fn can_run_on(pod: &PodView<'_>, node: NodeKind<'_>) -> bool {
    let is_for_os = pod.spec.os.as_ref().is_none_or(|os| os.is_named(node.os));
    let mut selected = pod.spec.node_selector.iter().flat_map(StringMap::iter);
    is_for_os
        && selected.all(|(key, value)| node.is_possible(key, "In", &[value.as_str()]))
        && pod.spec.affinity.as_ref().is_none_or(|affinity| affinity.allows(node))
}
