//! The sidecar in a pod, and what must hold of it in any.

use serde_json::{Value, json};
use vdi_metrics::contract::CONTAINER;

/// What must hold of a sidecar in any pod.
pub(super) fn is_harmless(ours: &Value, pod: &Value, list: &str) {
    let fields = [
        "name",
        "image",
        "imagePullPolicy",
        "restartPolicy",
        "env",
        "ports",
        "resources",
        "securityContext",
        "volumeMounts",
        "terminationMessagePath",
        "terminationMessagePolicy",
    ];
    assert!(ours.as_object().unwrap().keys().all(|field| fields.contains(&field.as_str())), "{ours}");
    let (native, policy) = (list == "initContainers", &ours["restartPolicy"]);
    assert_eq!(*policy, if native { json!("Always") } else { Value::Null });
    assert!(native || pod["spec"]["restartPolicy"] == "Always", "a container keeps the pod from completing");
    for amounts in ["requests", "limits"] {
        let mut names = ours["resources"][amounts].as_object().into_iter().flatten();
        assert!(names.all(|(name, _)| name == "cpu" || name == "memory"), "{ours}");
    }
    let is_shared = |claim: &Value| {
        others(pod).any(|container| items(&container["resources"], "claims").any(|theirs| theirs == claim))
    };
    assert!(items(&ours["resources"], "claims").all(is_shared), "{ours}");
    assert!(items(ours, "volumeMounts").all(|mount| mount["name"] == CONTAINER), "{ours}");
    assert_eq!(items(&pod["spec"], "volumes").filter(|volume| volume["name"] == CONTAINER).count(), 1);
    let port = &ours["ports"][0]["containerPort"];
    assert!(
        !others(pod).flat_map(|other| items(other, "ports")).any(|theirs| theirs["containerPort"] == *port)
    );
    let context = &ours["securityContext"];
    let restricted = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "privileged": false,
        "readOnlyRootFilesystem": true, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert!(restricted.as_object().unwrap().iter().all(|(field, value)| context[field] == *value), "{ours}");
    let root = context["runAsUser"].is_null() && pod["spec"]["securityContext"]["runAsUser"] == 0;
    assert!(!root, "the pod's user 0 is ours and may not start");
}

/// The list that our container is in, and its place there.
pub(super) fn place(pod: &Value) -> Option<(&'static str, usize)> {
    ["initContainers", "containers"].into_iter().find_map(|list| {
        let index = pod["spec"][list].as_array()?.iter().position(|item| item["name"] == CONTAINER)?;
        Some((list, index))
    })
}

pub(super) fn others(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers"].into_iter().filter_map(|list| pod["spec"][list].as_array());
    lists.flatten().filter(|container| container["name"] != CONTAINER)
}

pub(super) fn items<'v>(of: &'v Value, list: &str) -> impl Iterator<Item = &'v Value> {
    of[list].as_array().into_iter().flatten()
}
