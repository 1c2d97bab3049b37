//! Records the fields of a pod that were null or empty before `inject`, so that `uninject` can restore the original bytes. The
//! record of a field is its value, or a string with its text after the key if that is not the usual one.

use crate::{
    admission::MAX_ANNOTATION_BYTES,
    cli::manifest::{Node, empty_value},
    contract::key,
};

/// Fields of a pod that are null or empty, with their values. Kubernetes treats them as absent, so without this record
/// `uninject` would remove them.
pub(in crate::cli) struct EmptyFields(Vec<(&'static str, Node)>);

/// Notice about a pod whose annotations have no room for the record.
const NOT_RECORDED: &str = "the pod's annotations may exceed 256 KiB with vdi-metrics.io/restore, which is left out: uninject \
     removes the pod's null and empty fields instead of restoring them";

/// Fields that may be empty before `inject` adds the sidecar. An inner field comes after the field that contains it.
const FIELDS: [&str; 6] = [
    "/metadata",
    "/metadata/labels",
    "/metadata/annotations",
    "/spec/initContainers",
    "/spec/containers",
    "/spec/volumes",
];

// === impl EmptyFields ===

impl EmptyFields {
    /// The empty fields of a pod.
    pub(in crate::cli) fn of(pod: &Node) -> Self {
        Self::collect(|field| at(pod, field).cloned())
    }

    /// The empty fields that the annotation of an injected pod records; none without a valid annotation.
    pub(in crate::cli) fn from_annotation(pod: &Node) -> Self {
        let text =
            pod.at(&["metadata", "annotations", key::RESTORE]).and_then(Node::as_str).unwrap_or_default();
        let fields: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        Self::collect(|field| match fields.get(field)? {
            serde_json::Value::String(spelling) => empty_value(spelling),
            value => empty_value(&format!(": {value}")),
        })
    }

    fn collect(value: impl Fn(&str) -> Option<Node>) -> Self {
        let fields = FIELDS.into_iter().filter_map(|field| Some((field, value(field)?)));
        Self(fields.filter(|(_, node)| node.is_null_or_empty()).collect())
    }

    /// Writes the fields that are not empty any more into the annotation. Returns a notice if the pod's annotations would exceed
    /// their limit with it.
    pub(in crate::cli) fn annotate(self, pod: &mut Node) -> Option<String> {
        let mut filled = Node::map();
        for (field, was) in self.0 {
            if at(pod, field).is_some_and(|node| !node.is_null_or_empty()) {
                let usual = format!(": {}", String::from_utf8_lossy(&was.json()));
                let unusual = was.spelling().filter(|spelling| *spelling != usual).map(Node::text);
                filled.add(&[field], unusual.unwrap_or(was));
            }
        }
        if filled.is_null_or_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(&filled.json()).into_owned();
        // The JSON is at least as long as the keys and values, which the API server counts.
        let annotations = pod.at(&["metadata", "annotations"]).map_or(0, |entries| entries.json().len());
        if annotations + key::RESTORE.len() + text.len() > MAX_ANNOTATION_BYTES {
            return Some(NOT_RECORDED.to_owned());
        }
        pod.add(&["metadata", "annotations", key::RESTORE], Node::text(text));
        None
    }

    /// Restores the field at `path` if it is empty now: writes the recorded value, or removes the field if no value was
    /// recorded. Then does the same with the field that contains this field, because it may be empty now.
    pub(in crate::cli) fn restore(&self, pod: &mut Node, path: &[&str]) {
        let field = format!("/{}", path.join("/"));
        let Some((last, parents)) = path.split_last().filter(|_| FIELDS.contains(&&*field)) else {
            return;
        };
        if !at(pod, &field).is_some_and(Node::is_null_or_empty) {
            return;
        }
        match (pod.at_mut(parents), self.0.iter().find(|(recorded, _)| *recorded == field)) {
            (Some(parent), Some((_, was))) => _ = parent.add(&[last], was.clone()),
            (Some(parent), None) => _ = parent.remove(|key, _| key != *last),
            (None, _) => {}
        }
        self.restore(pod, parents);
    }
}

fn at<'n>(pod: &'n Node, pointer: &str) -> Option<&'n Node> {
    pod.at(&pointer.split('/').skip(1).collect::<Vec<_>>())
}
