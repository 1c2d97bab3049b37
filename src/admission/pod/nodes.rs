//! The kinds of nodes that a pod can run on: their operating system and their architecture.

use std::borrow::Cow;

use serde::Deserialize;

use super::{object::StrictObject, text::BorrowedText};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AffinityView<'a> {
    #[serde(borrow)]
    node_affinity: Option<StrictObject<NodeAffinityView<'a>>>,
}

/// The required node affinity. Preferences are not read, because a pod can run on a node that it does not prefer.
#[derive(Debug, Deserialize)]
struct NodeAffinityView<'a> {
    #[serde(borrow, rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<StrictObject<NodeSelectorView<'a>>>,
}

/// Terms of a node selector. A node must match one of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeSelectorView<'a> {
    #[serde(borrow)]
    node_selector_terms: Option<Vec<Option<StrictObject<NodeTermView<'a>>>>>,
}

/// A term of a node selector. A node must match all its requirements. A term without any requirement matches no node.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeTermView<'a> {
    #[serde(borrow)]
    match_expressions: Option<Vec<StrictObject<NodeRequirementView<'a>>>>,
    /// Requirements for the name of the node, which does not show its kind.
    #[serde(borrow)]
    match_fields: Option<Vec<StrictObject<NodeRequirementView<'a>>>>,
}

#[derive(Debug, Deserialize)]
struct NodeRequirementView<'a> {
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    operator: Cow<'a, str>,
    #[serde(borrow)]
    values: Option<Vec<Option<BorrowedText<'a>>>>,
}

/// A kind of node. The kubelet sets the labels for the operating system and the architecture on every node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeKind<'a> {
    pub(crate) os: &'a str,
    /// The architecture of an ordinary node; `None` for nodes of any architecture, virtual nodes included.
    pub(crate) arch: Option<&'a str>,
}

// === impl AffinityView ===

impl AffinityView<'_> {
    /// Whether a node of this kind can match the required node affinity.
    pub(crate) fn allows(&self, node: NodeKind<'_>) -> bool {
        let required = self.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
        required.is_none_or(|required| required.allows(node))
    }
}

// === impl NodeSelectorView ===

impl NodeSelectorView<'_> {
    fn allows(&self, node: NodeKind<'_>) -> bool {
        self.node_selector_terms.iter().flatten().flatten().any(|term| term.allows(node))
    }
}

// === impl NodeTermView ===

impl NodeTermView<'_> {
    fn allows(&self, node: NodeKind<'_>) -> bool {
        let count = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
        let is_empty = count(&self.match_expressions) + count(&self.match_fields) == 0;
        let mut requirements = self.match_expressions.iter().flatten();
        !is_empty && requirements.all(|requirement| requirement.allows(node))
    }
}

// === impl NodeRequirementView ===

impl NodeRequirementView<'_> {
    fn allows(&self, node: NodeKind<'_>) -> bool {
        let values = self.values.iter().flatten();
        let values: Vec<&str> = values.map(|value| value.as_ref().map_or("", |text| &text.0)).collect();
        node.is_possible(&self.key, &self.operator, &values)
    }
}

// === impl NodeKind ===

impl NodeKind<'_> {
    pub(crate) const LINUX: Self = Self { os: "linux", arch: None };
    pub(crate) const WINDOWS: Self = Self { os: "windows", arch: None };

    /// Whether a node of this kind can meet the requirement. The label `windows-build` exists only on Windows nodes. AKS sets
    /// `os-sku`, GKE sets `gke-os-distribution`, and virtual-kubelet sets `type`.
    pub(crate) fn is_possible(self, key: &str, operator: &str, values: &[&str]) -> bool {
        let is_windows = self.os == Self::WINDOWS.os;
        match (key, self.arch) {
            ("kubernetes.io/os" | "beta.kubernetes.io/os", _) => is_met(self.os, operator, values),
            ("kubernetes.io/arch" | "beta.kubernetes.io/arch", arch) => {
                arch.map_or(operator != "DoesNotExist", |arch| is_met(arch, operator, values))
            }
            ("node.kubernetes.io/windows-build", _) => match operator {
                "NotIn" => true,
                "DoesNotExist" => !is_windows,
                _ => is_windows,
            },
            ("kubernetes.azure.com/os-sku" | "cloud.google.com/gke-os-distribution", _)
                if operator == "In" =>
            {
                values.iter().any(|value| value.to_ascii_lowercase().starts_with("windows") == is_windows)
            }
            ("type", Some(_)) if operator == "In" => values.iter().any(|value| *value != "virtual-kubelet"),
            _ => true,
        }
    }
}

/// Whether a label with this value meets the requirement.
fn is_met(label: &str, operator: &str, values: &[&str]) -> bool {
    match operator {
        "In" => values.contains(&label),
        "NotIn" => !values.contains(&label),
        _ => operator == "Exists",
    }
}
