//! Where the pods are in a document: pods themselves, the templates in what makes pods, and lists of both.

use super::manifest::Node;

/// Group, kind, and where its pod is.
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
pub(super) struct Object {
    /// Kind and name, as kubectl has it: `deployment/desktops`.
    pub(super) label: String,
    /// Its own word; empty where it has none.
    pub(super) namespace: String,
    /// Where it stands in the document.
    pub(super) path: Vec<String>,
    /// Where its pod stands in the document; `None` where it has none.
    pub(super) pod: Option<Vec<String>>,
}

// === impl Object ===

impl Object {
    /// Its namespace, or this one where it names none.
    pub(super) fn namespace_or<'o>(&'o self, other: &'o str) -> &'o str {
        if self.namespace.is_empty() { other } else { &self.namespace }
    }
}

/// The objects of a document, those of a list one by one. None where it is empty.
pub(super) fn objects(root: &Node) -> Vec<Object> {
    let mut found = vec![];
    if !root.is_null() {
        collect(root, ("", ""), &[], &mut found);
    }
    found
}

fn collect(node: &Node, listed: (&str, &str), path: &[String], found: &mut Vec<Object>) {
    let text = |key| node.get(key).and_then(Node::as_str);
    let (version, kind) = (text("apiVersion").unwrap_or(listed.0), text("kind").unwrap_or(listed.1));
    let items = kind.strip_suffix("List").and_then(|kind| Some((kind, node.get("items")?.items()?)));
    let Some((of, items)) = items else {
        found.push(object(node, version, kind, path));
        return;
    };
    for (index, item) in items.iter().enumerate() {
        let path = [path, &["items".to_owned(), index.to_string()]].concat();
        collect(item, (version, of), &path, found);
    }
}

fn object(node: &Node, version: &str, kind: &str, path: &[String]) -> Object {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let known = KINDS.iter().find(|known| (known.0, known.1) == (group, kind));
    let pod = known
        .map(|(.., steps)| [path, &steps.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>()].concat());
    let metadata = |key| node.at(&["metadata", key]).and_then(Node::spelling);
    let name = metadata("name").or_else(|| metadata("generateName")).unwrap_or("(no name)");
    let kind = if kind.is_empty() { "(no kind)".to_owned() } else { kind.to_lowercase() };
    let namespace = metadata("namespace").unwrap_or_default().to_owned();
    Object { label: format!("{kind}/{name}"), namespace, path: path.to_vec(), pod }
}
