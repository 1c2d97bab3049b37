//! The node affinity of a pod, and the operating systems of the nodes that it allows.

use std::borrow::Cow;

use serde::Deserialize;

use super::text::BorrowedText;

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

pub(crate) const LINUX: &str = "linux";
pub(crate) const WINDOWS: &str = "windows";

// === impl AffinityView ===

impl AffinityView<'_> {
    /// Whether a node of this operating system can match the required affinity.
    pub(crate) fn allows(&self, os: &str) -> bool {
        let required = self.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
        required.is_none_or(|required| required.allows(os))
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

/// Whether a node of this operating system can meet the requirement. A node can have any value of a label that does not depend
/// on the operating system. The kubelet sets the first three labels on every node and
/// corrects them; `windows-build` exists only on Windows. AKS and GKE set the last two.
pub(crate) fn is_possible(os: &str, key: &str, operator: &str, values: &[&str]) -> bool {
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
