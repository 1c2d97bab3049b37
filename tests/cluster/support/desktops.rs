//! Manifests of desktops, and the sidecar in a pod's JSON.

use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, key};

/// The image of a desktop that runs the commands of kit's `probe.rs`, such as `exit CODE SECONDS` or `sleep`.
pub(crate) const DESKTOP_IMAGE: &str = "desktop.test/desktop:1";

/// A desktop pod that Pod Security's `restricted` accepts. Each test changes the fields that it is about. The annotation says
/// that the desktop has a GPU without a request: the sidecars of the tests have a fake GPU in their image.
pub(crate) fn desktop(arguments: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "desktop",
            "labels": {"vdi-metrics.io/session": "alice-1", "vdi-metrics.io/template": "cad"},
            "annotations": {key::GPU_SHARING: "exclusive"},
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "desktop",
                "image": DESKTOP_IMAGE,
                "args": arguments,
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

/// A Deployment of desktops.
pub(crate) fn deployment(namespace: &str, replicas: u8) -> Value {
    let mut template = desktop(&["sleep"]);
    template["spec"]["restartPolicy"] = json!("Always");
    template["metadata"]["labels"]["app"] = json!("desktops");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "desktops", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "desktops"}},
            "template": {
                "metadata": {
                    "labels": template["metadata"]["labels"],
                    "annotations": template["metadata"]["annotations"],
                },
                "spec": template["spec"],
            },
        },
    })
}

/// The sidecar's container in a pod's JSON.
pub(crate) fn sidecar_in_json(pod: &Value) -> Option<&Value> {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    lists.into_iter().flatten().flatten().find(|container| container["name"] == CONTAINER)
}
