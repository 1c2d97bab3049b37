//! Finds the pods of a document: pods, the pod templates of workloads, and lists of both.

use super::manifest::Node;
use crate::admission::UnreadableField;

/// API group, kind, and path of the pod in the object.
const KINDS: [(&str, &str, &[&str]); 9] = [
    ("", "Pod", &[]),
    ("", "PodTemplate", &["template"]),
    ("", "ReplicationController", &["spec", "template"]),
    ("apps", "DaemonSet", &["spec", "template"]),
    ("apps", "Deployment", &["spec", "template"]),
    ("apps", "ReplicaSet", &["spec", "template"]),
    ("apps", "StatefulSet", &["spec", "template"]),
    ("batch", "CronJob", &["spec", "jobTemplate", "spec", "template"]),
    ("batch", "Job", &["spec", "template"]),
];

/// An object of a document.
#[derive(Debug)]
pub(super) struct ManifestObject {
    /// Kind and name as kubectl prints them: `deployment/desktops`.
    pub(super) label: String,
    /// `metadata.namespace`; empty if absent.
    pub(super) namespace: String,
    /// Path of the object in the document.
    pub(super) path: Vec<String>,
    pub(super) pods: PodPaths,
}

/// Where an object has pods: paths in the document.
#[derive(Debug)]
pub(super) enum PodPaths {
    /// The pod or the pod template of a kind in [`KINDS`].
    OfKind(Vec<String>),
    /// The pod templates of another kind. Empty if the object has none.
    OfUnknownKind(Vec<Vec<String>>),
}

// === impl ManifestObject ===

impl ManifestObject {
    /// The object's namespace, or `default` if its manifest does not name one.
    pub(super) fn namespace_or<'o>(&'o self, default: &'o str) -> &'o str {
        if self.namespace.is_empty() { default } else { &self.namespace }
    }

    /// The pod at a path, if it can be read.
    pub(super) fn readable<'n>(
        &self,
        root: &'n mut Node,
        pod: &[String],
    ) -> Result<&'n mut Node, UnreadableField> {
        match self.unreadable(root, pod) {
            Some(field) => Err(field),
            None => root.at_mut(pod).ok_or_else(|| UnreadableField::missing(pod)),
        }
    }

    /// The field that prevents reading a pod of the object. `pod` is the path of the pod in the document.
    pub(super) fn unreadable(&self, root: &Node, pod: &[String]) -> Option<UnreadableField> {
        let of_object = UnreadableField::of_object(&json(root, &self.path));
        of_object
            .map(|field| field.within(&self.path))
            .or_else(|| self.unreadable_parent(root))
            .or_else(|| UnreadableField::of_pod(&json(root, pod)).map(|field| field.within(pod)))
    }

    /// The field between the object and its pod that is missing or not a map.
    fn unreadable_parent(&self, root: &Node) -> Option<UnreadableField> {
        let PodPaths::OfKind(pod) = &self.pods else { return None };
        (self.path.len()..=pod.len()).find_map(|end| {
            let path = &pod[..end];
            match root.at(path) {
                None => Some(UnreadableField::missing(path)),
                Some(node) if node.entries().is_none() => {
                    Some(UnreadableField::not_a_map(path, &node.json()))
                }
                Some(_) => None,
            }
        })
    }
}

// === impl PodPaths ===

impl PodPaths {
    /// The paths.
    pub(super) fn all(&self) -> &[Vec<String>] {
        match self {
            Self::OfKind(path) => std::slice::from_ref(path),
            Self::OfUnknownKind(paths) => paths,
        }
    }
}

fn json(root: &Node, path: &[String]) -> Vec<u8> {
    root.at(path).map_or_else(|| b"null".to_vec(), Node::json)
}

/// The objects of a document, with each item of a list as an object. An empty document has none.
pub(super) fn objects(root: &Node) -> Vec<ManifestObject> {
    let mut objects = vec![];
    if !root.is_null() {
        collect(root, ("", ""), &[], &mut objects);
    }
    objects
}

/// `list` is the API version and the item kind of the list that contains `node`, because items of a typed list may have
/// neither field.
fn collect(node: &Node, list: (&str, &str), path: &[String], objects: &mut Vec<ManifestObject>) {
    let text = |key| node.get(key).and_then(Node::as_str);
    let (version, kind) = (text("apiVersion").unwrap_or(list.0), text("kind").unwrap_or(list.1));
    let items = kind.strip_suffix("List").and_then(|kind| Some((kind, node.get("items")?.items()?)));
    let Some((item_kind, items)) = items else {
        objects.push(object(node, version, kind, path));
        return;
    };
    for (index, item) in items.iter().enumerate() {
        let path = [path, &["items".to_owned(), index.to_string()]].concat();
        collect(item, (version, item_kind), &path, objects);
    }
}

fn object(node: &Node, version: &str, kind: &str, path: &[String]) -> ManifestObject {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let workload = KINDS.iter().find(|workload| (workload.0, workload.1) == (group, kind));
    let pods = match workload {
        Some((.., steps)) => PodPaths::OfKind(
            path.iter().cloned().chain(steps.iter().map(|step| (*step).to_owned())).collect(),
        ),
        // The node is not an object, or its `items` is not a list. The verbs report it as a pod that cannot be read.
        None if node.entries().is_none() || kind.ends_with("List") && has_unreadable_items(node) => {
            PodPaths::OfKind(path.to_vec())
        }
        None => {
            let mut templates = vec![];
            find_templates(node, &[], &mut templates);
            PodPaths::OfUnknownKind(templates.iter().map(|template| [path, template].concat()).collect())
        }
    };
    let metadata = |key| node.at(&["metadata", key]).and_then(Node::scalar_text);
    let name = metadata("name").or_else(|| metadata("generateName")).unwrap_or("(no name)");
    let kind = if kind.is_empty() { "(no kind)".to_owned() } else { kind.to_lowercase() };
    let namespace = metadata("namespace").unwrap_or_default().to_owned();
    ManifestObject { label: format!("{kind}/{name}"), namespace, path: path.to_vec(), pods }
}

fn has_unreadable_items(list: &Node) -> bool {
    list.get("items").is_some_and(|items| items.items().is_none() && !items.is_null())
}

/// Finds the pod templates in an object, at any depth. `path` leads from the object to `node`.
fn find_templates(node: &Node, path: &[String], templates: &mut Vec<Vec<String>>) {
    if is_template(node, path) {
        templates.push(path.to_vec());
        return;
    }
    let mut descend = |step: String, child| find_templates(child, &[path, &[step]].concat(), templates);
    for (index, item) in node.items().unwrap_or_default().iter().enumerate() {
        descend(index.to_string(), item);
    }
    for entry in node.entries().unwrap_or_default() {
        descend(entry.key.clone(), &entry.value);
    }
}

/// Whether a node is a pod or a pod template. A list of containers alone does not prove that. A Kyverno policy has containers in
/// its patterns. The kind Prometheus has containers that change the pods of its operator.
fn is_template(node: &Node, path: &[String]) -> bool {
    let containers = node.at(&["spec", "containers"]).and_then(Node::items).unwrap_or_default();
    let is_pod = match node.get("kind") {
        Some(kind) => kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("Pod")),
        None => path.last().is_none_or(|key| key.to_lowercase().contains("template")),
    };
    is_pod && containers.iter().any(|container| container.entries().is_some())
}
