//! Stubs: the parts of a pod that a patch touches.

use serde_json::{Value, json};

use crate::admission::pod::PodView;

/// The parents that a pod may lack, each with its object, its name, and whether this pod has it.
pub(super) fn parents(pod: &PodView<'_>) -> [(&'static str, &'static str, bool); 6] {
    let spec = &pod.spec;
    [
        ("metadata", "labels", pod.labels().is_some()),
        ("metadata", "annotations", pod.annotations().is_some()),
        ("spec", "containers", spec.containers.is_some()),
        ("spec", "initContainers", spec.init_containers.is_some()),
        ("spec", "volumes", spec.volumes.is_some()),
        ("spec", "imagePullSecrets", spec.image_pull_secrets.is_some()),
    ]
}

/// A pod with the same parents, each of them empty.
pub(super) fn stub(pod: &PodView<'_>) -> Value {
    let mut stub = json!({"spec": {}});
    if pod.metadata.is_some() {
        stub["metadata"] = json!({});
    }
    for (parent, name, _) in parents(pod).into_iter().filter(|(.., exists)| *exists) {
        stub[parent][name] = if parent == "spec" { json!([]) } else { json!({}) };
    }
    stub
}
