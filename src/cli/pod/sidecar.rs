//! Finds the sidecar's container and volume in a pod.

use crate::{cli::manifest::Node, contract::CONTAINER};

/// Lists of `spec` that can contain a part of the sidecar.
pub(in crate::cli) const LISTS: [&str; 3] = ["initContainers", "containers", "volumes"];

/// Whether an item of such a list has the sidecar's name.
pub(in crate::cli) fn is_named_as_sidecar(item: &Node) -> bool {
    item.get("name").and_then(Node::as_str) == Some(CONTAINER)
}

/// The container with the sidecar's name.
pub(in crate::cli) fn container(pod: &Node) -> Option<&Node> {
    LISTS[..2].iter().find_map(|list| named(pod, list))
}

/// The volume with the sidecar's name.
pub(in crate::cli) fn volume(pod: &Node) -> Option<&Node> {
    named(pod, LISTS[2])
}

fn named<'n>(pod: &'n Node, list: &str) -> Option<&'n Node> {
    pod.at(&["spec", list])?.items()?.iter().find(|item| is_named_as_sidecar(item))
}
