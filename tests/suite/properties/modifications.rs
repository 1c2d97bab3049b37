//! Changes that other webhooks can make to the sidecar.

use serde_json::Value;
use vdi_metrics::contract::{CONTAINER, key};

use super::sidecar::index_of_sidecar;

/// A field of an injected pod, and the value that it gets; without a value the field is removed.
pub(super) const MODIFICATIONS: [(&str, Option<&str>); 22] = [
    ("container/restartPolicy", None),
    ("container/securityContext", None),
    ("container/securityContext/allowPrivilegeEscalation", None),
    ("container/securityContext/allowPrivilegeEscalation", Some("true")),
    ("container/securityContext/capabilities", None),
    ("container/securityContext/capabilities", Some(r#"{"drop": ["NET_RAW"]}"#)),
    ("container/securityContext/capabilities", Some(r#"{"drop": ["ALL"], "add": ["SYS_ADMIN"]}"#)),
    ("container/securityContext/privileged", Some("true")),
    ("container/securityContext/readOnlyRootFilesystem", None),
    ("container/securityContext/runAsNonRoot", Some("null")),
    ("container/securityContext/runAsUser", None),
    ("container/securityContext/runAsUser", Some("0")),
    ("container/securityContext/runAsGroup", Some("0")),
    ("container/securityContext/seccompProfile", Some(r#"{"type": "Unconfined"}"#)),
    ("container/resources", None),
    ("container/resources", Some("{}")),
    ("container/ports", None),
    ("container/ports", Some("[]")),
    ("container/volumeMounts", None),
    ("container/volumeMounts", Some("[]")),
    ("spec/volumes", None),
    ("metadata/labels/vdi-metrics.io~1injected", None),
];

pub(super) fn modify_field(pod: &mut Value, path: &str, value: &Option<&str>) {
    let (list, index) = index_of_sidecar(pod).unwrap();
    let path = path.replacen("container", &format!("spec/{list}/{index}"), 1);
    let (parent, field) = path.rsplit_once('/').unwrap();
    if path == "spec/volumes" {
        pod["spec"]["volumes"].as_array_mut().unwrap().retain(|volume| volume["name"] != CONTAINER);
    } else if let Some(parent) = pod.pointer_mut(&format!("/{parent}")).and_then(Value::as_object_mut) {
        match value {
            Some(value) if parent.contains_key(field) => {
                parent.insert(field.to_owned(), serde_json::from_str(value).unwrap());
            }
            Some(_) => {}
            None => drop(parent.remove(&field.replace("~1", "/"))),
        }
    }
}

/// Whether the modifications together decide who the sidecar runs as. The webhook does not change that.
pub(super) fn decide_the_user(modifications: &[(&str, Option<&str>)]) -> bool {
    let has = |field: &str, removed: bool| {
        modifications.iter().any(|(path, value)| path.ends_with(field) && (!removed || value.is_none()))
    };
    has("runAsUser", true) && has("runAsGroup", false)
}

/// Whether the field may stay as modified. The mount is not restored when the API server has mounted its token in the container,
/// and not every sidecar has a restart policy, a user or resources.
pub(super) fn may_stay_unrepaired(path: &str, reinvoked: bool) -> bool {
    let optional =
        ["restartPolicy", "runAsUser", "runAsGroup", "resources"].iter().any(|part| path.ends_with(part));
    optional || path.ends_with("volumeMounts") && reinvoked
}

pub(super) fn without_sidecar(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for list in ["initContainers", "containers", "volumes"] {
        if let Some(items) = pod["spec"][list].as_array_mut() {
            items.retain(|item| item["name"] != CONTAINER);
        }
    }
    if let Some(labels) = pod["metadata"]["labels"].as_object_mut() {
        labels.remove(key::INJECTED);
    }
    pod
}
