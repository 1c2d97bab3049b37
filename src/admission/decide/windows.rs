//! Pods that can run only on Windows nodes.

use crate::admission::pod::{LINUX, PodView, StringMap, WINDOWS, is_possible};

/// Whether the pod can run only on Windows nodes. `windowsOptions` do not prevent a pod from running on Linux, but only a pod
/// for Windows has them, so they decide for a pod that can run on both.
pub(crate) fn is_windows(pod: &PodView<'_>) -> bool {
    can_run_on(pod, WINDOWS) && (has_windows_options(pod) || !can_run_on(pod, LINUX))
}

fn has_windows_options(pod: &PodView<'_>) -> bool {
    let of_pod = pod.spec.security_context.as_ref().and_then(|context| context.windows_options);
    let mut containers = pod.containers().filter_map(|container| container.security_context.as_ref());
    of_pod.is_some() || containers.any(|context| context.windows_options.is_some())
}

/// Whether a node of this operating system can match the pod's constraints.
fn can_run_on(pod: &PodView<'_>, os: &str) -> bool {
    let spec = &pod.spec;
    let mut selected = spec.node_selector.iter().flat_map(StringMap::iter);
    spec.os.as_ref().is_none_or(|of_pod| of_pod.name == os)
        && selected.all(|(key, value)| is_possible(os, key, "In", &[value.as_str()]))
        && spec.affinity.as_ref().is_none_or(|affinity| affinity.allows(os))
}
