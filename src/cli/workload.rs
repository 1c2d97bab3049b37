//! Finds the pods of a document: pods, the pod templates of workloads, and lists of both.

use super::manifest::Node;

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
    /// Path of the object's pod in the document; `None` if the object has no pod.
    pub(super) pod: Option<Vec<String>>,
}

// === impl ManifestObject ===

impl ManifestObject {
    /// The object's namespace, or `default` if its manifest does not name one.
    pub(super) fn namespace_or<'o>(&'o self, default: &'o str) -> &'o str {
        if self.namespace.is_empty() { default } else { &self.namespace }
    }
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
    let pod = workload
        .map(|(.., steps)| [path, &steps.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>()].concat());
    let metadata = |key| node.at(&["metadata", key]).and_then(Node::scalar_text);
    let name = metadata("name").or_else(|| metadata("generateName")).unwrap_or("(no name)");
    let kind = if kind.is_empty() { "(no kind)".to_owned() } else { kind.to_lowercase() };
    let namespace = metadata("namespace").unwrap_or_default().to_owned();
    ManifestObject { label: format!("{kind}/{name}"), namespace, path: path.to_vec(), pod }
}
