//! The operating system of the nodes that a pod can run on.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    text::{BorrowedText, StringMap},
    view::PodView,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AffinityView<'a> {
    #[serde(borrow)]
    node_affinity: Option<NodeAffinityView<'a>>,
}

/// Preferences are left out, because a pod can run on a node that it does not prefer.
#[derive(Debug, Deserialize)]
struct NodeAffinityView<'a> {
    #[serde(borrow, rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<NodeSelectorView<'a>>,
}

/// Alternatives, one of which a node must match.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeSelectorView<'a> {
    #[serde(borrow)]
    node_selector_terms: Option<Vec<Option<NodeTermView<'a>>>>,
}

/// Requirements that a node must all match. A term without any requirement matches no node.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeTermView<'a> {
    #[serde(borrow)]
    match_expressions: Option<Vec<NodeRequirementView<'a>>>,
    /// Requirements for the name of the node, which does not show the operating system.
    #[serde(borrow)]
    match_fields: Option<Vec<NodeRequirementView<'a>>>,
}

#[derive(Debug, Deserialize)]
struct NodeRequirementView<'a> {
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    operator: Cow<'a, str>,
    #[serde(borrow)]
    values: Option<Vec<BorrowedText<'a>>>,
}

const LINUX: &str = "linux";
const WINDOWS: &str = "windows";

// === impl PodView ===

impl PodView<'_> {
    /// Whether the pod can run only on Windows nodes. `windowsOptions` do not prevent a pod from running on Linux, but only a
    /// pod for Windows has them, so they decide for a pod that can run on both.
    pub(crate) fn is_windows(&self) -> bool {
        self.can_run_on(WINDOWS) && (self.has_windows_options() || !self.can_run_on(LINUX))
    }

    fn has_windows_options(&self) -> bool {
        let of_pod = self.spec.security_context.as_ref().and_then(|context| context.windows_options);
        let mut containers = self.containers().filter_map(|container| container.security_context.as_ref());
        of_pod.is_some() || containers.any(|context| context.windows_options.is_some())
    }

    /// Whether a node of this operating system can match the pod's constraints. Only the labels that depend on the operating
    /// system are compared; a node can have any other label.
    fn can_run_on(&self, os: &str) -> bool {
        let is_for_os = self.spec.os.as_ref().is_none_or(|of_pod| of_pod.name == os);
        let mut selected = self.spec.node_selector.iter().flat_map(StringMap::iter);
        let affinity = self.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|affinity| affinity.required.as_ref());
        is_for_os
            && selected.all(|(key, value)| is_possible(os, key, "In", &[value.as_str()]))
            && required.is_none_or(|required| required.allows(os))
    }
}

// === impl NodeSelectorView ===

impl NodeSelectorView<'_> {
    fn allows(&self, os: &str) -> bool {
        self.node_selector_terms.iter().flatten().flatten().any(|term| term.allows(os))
    }
}

// === impl NodeTermView ===

impl NodeTermView<'_> {
    fn allows(&self, os: &str) -> bool {
        let count = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
        let is_empty = count(&self.match_expressions) + count(&self.match_fields) == 0;
        let mut requirements = self.match_expressions.iter().flatten();
        !is_empty && requirements.all(|requirement| requirement.allows(os))
    }
}

// === impl NodeRequirementView ===

impl NodeRequirementView<'_> {
    fn allows(&self, os: &str) -> bool {
        let values: Vec<&str> = self.values.iter().flatten().map(|value| &*value.0).collect();
        is_possible(os, &self.key, &self.operator, &values)
    }
}

/// Whether a node of this operating system can meet the requirement. The kubelet sets the first three labels on every node and
/// corrects them; `windows-build` exists only on Windows. AKS and GKE set the last two.
fn is_possible(os: &str, key: &str, operator: &str, values: &[&str]) -> bool {
    match (key, operator) {
        ("kubernetes.io/os" | "beta.kubernetes.io/os", "In") => values.contains(&os),
        ("kubernetes.io/os" | "beta.kubernetes.io/os", "NotIn") => !values.contains(&os),
        ("kubernetes.io/os" | "beta.kubernetes.io/os", operator) => operator == "Exists",
        ("node.kubernetes.io/windows-build", "NotIn") => true,
        ("node.kubernetes.io/windows-build", "DoesNotExist") => os != WINDOWS,
        ("node.kubernetes.io/windows-build", _) => os == WINDOWS,
        ("kubernetes.azure.com/os-sku" | "cloud.google.com/gke-os-distribution", "In") => {
            values.iter().any(|value| value.to_ascii_lowercase().starts_with(WINDOWS) == (os == WINDOWS))
        }
        _ => true,
    }
}
