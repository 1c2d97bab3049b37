//! A pod with every field that admission reads, and the same pod with null in one place.

use serde_json::{Value, json};

/// A pod with every field that admission reads. A real API server accepts it.
#[must_use]
pub fn complete_pod() -> Value {
    let resources = json!({
        "requests": {"cpu": "100m", "memory": "1Gi"},
        "limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": "1"},
        "claims": [{"name": "gpu", "request": "card"}],
    });
    let container = json!({
        "name": "desktop",
        "image": "desktop:1",
        "ports": [{"name": "vnc", "containerPort": 5900, "protocol": "TCP"}],
        "resources": resources,
        "securityContext": {"runAsUser": 1000},
    });
    let init = json!({"name": "proxy", "image": "proxy:1", "restartPolicy": "Always", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}});
    let os = json!({"key": "kubernetes.io/os", "operator": "In", "values": ["linux", "windows"]});
    let name = json!({"key": "metadata.name", "operator": "In", "values": ["node-1"]});
    let terms = json!([{"matchExpressions": [os], "matchFields": [name]}]);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "desktop-",
            "labels": {"app": "desktop"},
            "annotations": {"vdi-metrics.io/template": "cad", "gpu-fraction": "0.5"},
        },
        "spec": {
            "containers": [container],
            "initContainers": [init],
            "volumes": [{"name": "home", "emptyDir": {}}],
            "imagePullSecrets": [{"name": "pull"}],
            "hostNetwork": false,
            "os": {"name": "linux"},
            "nodeSelector": {"kubernetes.io/os": "linux", "zone": "a"},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}},
            "restartPolicy": "Always",
            "activeDeadlineSeconds": 3600,
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "shared-card"}],
            "securityContext": {"runAsUser": 1000},
        },
    })
}

/// The JSON pointer of every value in the pod except the pod itself and its kind, and the pod with null in its place.
#[must_use]
pub fn pods_with_a_null() -> Vec<(String, Value)> {
    let pod = complete_pod();
    let mut pointers = vec![];
    for part in ["metadata", "spec"] {
        collect(&pod[part], &format!("/{part}"), &mut pointers);
    }
    let with_null = |pointer: String| {
        let mut changed = pod.clone();
        changed.pointer_mut(&pointer).map(Value::take);
        (pointer, changed)
    };
    pointers.into_iter().map(with_null).collect()
}

fn collect(value: &Value, pointer: &str, pointers: &mut Vec<String>) {
    pointers.push(pointer.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                collect(value, &format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), pointers);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{pointer}/{index}"), pointers);
            }
        }
        _ => {}
    }
}
