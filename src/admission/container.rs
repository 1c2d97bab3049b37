//! The sidecar: a native sidecar with the whole restricted security context of its own, equal requests and limits, and
//! one volume.

use serde_json::{Value, json};

use super::{Settings, decide::Plan};
use crate::contract::{CONTAINER, env, key};

/// Where the API token would be mounted. ServiceAccount admission leaves a container alone that has something there.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The number that the image runs as: fixed, so that a pod-level user 0 does not become ours and refuse to start.
const USER: u32 = 65532;

/// What is added to the pod's spec.
#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) container: Value,
    pub(super) volume: Value,
}

/// Builds the container and its volume.
pub(super) fn sidecar(plan: &Plan<'_>, settings: &Settings) -> Sidecar {
    let mut container = json!({
        "name": CONTAINER,
        "image": settings.sidecar.image,
        "imagePullPolicy": settings.sidecar.image_pull_policy,
        "restartPolicy": "Always",
        "env": environment(plan, settings),
        "ports": [{"name": CONTAINER, "containerPort": plan.port, "protocol": "TCP"}],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": CONTAINER, "mountPath": TOKEN_PATH, "readOnly": true}],
    });
    if plan.user {
        container["securityContext"]["runAsUser"] = USER.into();
    }
    if plan.resources {
        let resources = &settings.sidecar.resources;
        container["resources"] = json!({"requests": resources, "limits": resources});
    }
    Sidecar { container, volume: volume() }
}

fn environment(plan: &Plan<'_>, settings: &Settings) -> Vec<Value> {
    let own = [
        json!({"name": env::LISTEN, "value": format!("[::]:{}", plan.port)}),
        json!({"name": env::INTERVAL, "value": settings.sidecar.interval_seconds.to_string()}),
    ];
    let identity = plan.identity.iter().map(|(variable, field)| {
        json!({"name": variable, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": field}}})
    });
    own.into_iter().chain(identity).collect()
}

/// The pod's annotations as a file that follows their changes.
fn volume() -> Value {
    let file =
        json!({"path": "annotations", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.annotations"}});
    json!({"name": CONTAINER, "projected": {"defaultMode": 0o444, "sources": [{"downwardAPI": {"items": [file]}}]}})
}

// === impl Sidecar ===

impl Sidecar {
    /// What `vdi-metrics.io/config` says: 64-bit FNV-1a over what is injected, so that equal sidecars have equal hashes
    /// in every release. It tells versions apart and protects nothing.
    pub(super) fn hash(&self) -> String {
        let bytes = format!("{}{}", self.container, self.volume);
        let hash = bytes.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    /// The label that goes with it.
    pub(super) const LABEL: (&'static str, &'static str) = (key::INJECTED, "true");
}
