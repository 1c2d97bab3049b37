//! What the tables are made of, and the first of them: Pod Security.

use serde_json::{Value, json};

use crate::product::desktop;

/// A namespace, and the pods to be created in it.
pub(super) struct Fixture {
    /// What is special about it.
    pub(super) name: &'static str,
    pub(super) labels: &'static [(&'static str, &'static str)],
    /// What is in it besides, with `kind`, `metadata.name` and `spec`.
    pub(super) objects: Vec<Value>,
    pub(super) cases: Vec<Case>,
}

/// A pod, and what becomes of it in an opted-in namespace.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) pod: Value,
    pub(super) expected: Expected,
}

/// What the API server makes of a pod where we are asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// Accepted, with the sidecar.
    Injected,
    /// Accepted without it, for this reason.
    Without(&'static str),
    /// Refused, in words with these among them.
    Refused(&'static str),
}

use Expected::{Injected, Refused};

pub(super) fn case(name: &'static str, pod: Value, expected: Expected) -> Case {
    Case { name, pod, expected }
}

/// A desktop that Pod Security's `restricted` accepts, with this merged into its spec.
pub(super) fn desktop_with(spec: Value) -> Value {
    merged(desktop(&["sleep"]), json!({"spec": spec}))
}

/// A desktop whose container asks for this.
pub(super) fn asking(requests: Value, limits: Value) -> Value {
    let mut pod = desktop(&["sleep"]);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": requests, "limits": limits});
    pod
}

/// A pod with nothing but a container.
pub(super) fn bare(spec: Value) -> Value {
    let bare = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "desktop"},
        "spec": {"containers": [{"name": "desktop", "image": "x"}]},
    });
    merged(bare, json!({"spec": spec}))
}

/// RFC 7386: lists are replaced, null removes.
pub(super) fn merged(mut pod: Value, change: Value) -> Value {
    json_patch::merge(&mut pod, &change);
    pod
}

pub(super) fn pod_security() -> Vec<Fixture> {
    let pods = |at_ease, privileged| {
        let root = json!({"securityContext": {"runAsNonRoot": null, "runAsUser": 0}});
        let container = json!({"name": "desktop", "image": "x", "securityContext": {"privileged": true}});
        let init = json!([{"name": "unpack", "image": "x"}]);
        vec![
            case("that is restricted", desktop_with(json!({})), Injected),
            case("that runs as root", desktop_with(root), at_ease),
            case("with a careless init container", desktop_with(json!({"initContainers": init})), at_ease),
            case("that says nothing of security", bare(json!({})), at_ease),
            case("that is privileged", bare(json!({"containers": [container]})), privileged),
            case("on the host's process table", bare(json!({"hostPID": true})), privileged),
            case(
                "with a folder of the host",
                bare(json!({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]})),
                privileged,
            ),
        ]
    };
    let enforced = |name, labels, at_ease, privileged| Fixture {
        name,
        labels,
        objects: vec![],
        cases: pods(at_ease, privileged),
    };
    let restricted = Refused("violates PodSecurity \"restricted:latest\"");
    let baseline = Refused("violates PodSecurity \"baseline:latest\"");
    vec![
        enforced(
            "Pod Security restricted",
            &[("pod-security.kubernetes.io/enforce", "restricted")],
            restricted,
            restricted,
        ),
        enforced(
            "Pod Security baseline that warns of more",
            &[
                ("pod-security.kubernetes.io/enforce", "baseline"),
                ("pod-security.kubernetes.io/warn", "restricted"),
            ],
            Injected,
            baseline,
        ),
        enforced(
            "Pod Security privileged",
            &[("pod-security.kubernetes.io/enforce", "privileged")],
            Injected,
            Injected,
        ),
    ]
}
