//! The types of the tables, helpers for their pods, and the first table: Pod Security.

use serde_json::{Value, json};

use crate::support::desktops::desktop;

/// A namespace, and the pods that are created in it.
pub(super) struct NamespaceCases {
    /// Distinguishing property of the namespace, as in "in a namespace with NAME".
    pub(super) name: &'static str,
    pub(super) labels: &'static [(&'static str, &'static str)],
    /// Further objects in the namespace, with `kind`, `metadata.name` and `spec`.
    pub(super) objects: Vec<Value>,
    pub(super) cases: Vec<Case>,
}

/// A pod, and the expected response in an opted-in namespace.
pub(super) struct Case {
    /// Distinguishing property of the pod, as in "a pod NAME".
    pub(super) name: &'static str,
    pub(super) pod: Value,
    pub(super) expected: Expected,
}

/// The API server's response for a pod in an opted-in namespace.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// Accepted, with the sidecar.
    Injected,
    /// Accepted without the sidecar, for this skip reason.
    Skipped(&'static str),
    /// Accepted without the sidecar and without a status annotation, with a warning that contains this text.
    Unmarked(&'static str),
    /// Rejected, with a message that contains this text.
    Rejected(&'static str),
}

use Expected::{Injected, Rejected};

pub(super) fn case(name: &'static str, pod: Value, expected: Expected) -> Case {
    Case { name, pod, expected }
}

/// A desktop that Pod Security's `restricted` accepts, with `spec` merged into its spec.
pub(super) fn desktop_with(spec: Value) -> Value {
    merged(desktop(&["sleep"]), json!({"spec": spec}))
}

/// A desktop whose container has these resources.
pub(super) fn with_resources(requests: Value, limits: Value) -> Value {
    let mut pod = desktop(&["sleep"]);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": requests, "limits": limits});
    pod
}

/// A pod with only a container, with `spec` merged into its spec.
pub(super) fn minimal(spec: Value) -> Value {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "desktop"},
        "spec": {"containers": [{"name": "desktop", "image": "x"}]},
    });
    merged(pod, json!({"spec": spec}))
}

/// The pod after a JSON merge patch (RFC 7386): lists are replaced, null removes a field.
pub(super) fn merged(mut pod: Value, change: Value) -> Value {
    json_patch::merge(&mut pod, &change);
    pod
}

/// A policy that rejects containers in group 0, in namespaces with a label.
pub(super) const NO_GROUP_0: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-group-0}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  variables:
  - name: all
    expression: object.spec.containers + object.spec.?initContainers.orValue([])
  - name: inherited
    expression: object.spec.?securityContext.?runAsGroup.orValue(0)
  validations:
  - expression: variables.all.all(c, c.?securityContext.?runAsGroup.orValue(variables.inherited) > 0)
    message: a container runs in group 0
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-group-0}
spec:
  policyName: no-group-0
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {no-group-0: enforced}}}
"#;
pub(super) const NO_GROUP_0_LABELS: &[(&str, &str)] = &[("no-group-0", "enforced")];

pub(super) fn without_group_0() -> Vec<NamespaceCases> {
    let in_group = |group: Value| {
        let context = json!({"runAsUser": 1000, "runAsGroup": group});
        minimal(json!({"containers": [{"name": "desktop", "image": "x", "securityContext": context}]}))
    };
    let cases = vec![
        case("in a group of its own", in_group(json!(1000)), Injected),
        case("in group 0", in_group(json!(0)), Rejected("a container runs in group 0")),
        case("without a group", minimal(json!({})), Rejected("a container runs in group 0")),
        case(
            "in a group of the pod",
            minimal(json!({"securityContext": {"runAsUser": 1000, "runAsGroup": 1000}})),
            Injected,
        ),
    ];
    vec![NamespaceCases {
        name: "a policy against group 0",
        labels: NO_GROUP_0_LABELS,
        objects: vec![],
        cases,
    }]
}

pub(super) fn pod_security() -> Vec<NamespaceCases> {
    let pods = |below_restricted, privileged| {
        let root = json!({"securityContext": {"runAsNonRoot": null, "runAsUser": 0}});
        let container = json!({"name": "desktop", "image": "x", "securityContext": {"privileged": true}});
        let init = json!([{"name": "unpack", "image": "x"}]);
        vec![
            case("that is restricted", desktop_with(json!({})), Injected),
            case("that runs as root", desktop_with(root), below_restricted),
            case(
                "with an init container without a security context",
                desktop_with(json!({"initContainers": init})),
                below_restricted,
            ),
            case("without a security context", minimal(json!({})), below_restricted),
            case("that is privileged", minimal(json!({"containers": [container]})), privileged),
            case("on the host's process table", minimal(json!({"hostPID": true})), privileged),
            case(
                "with a folder of the host",
                minimal(json!({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]})),
                privileged,
            ),
        ]
    };
    let enforced = |name, labels, below_restricted, privileged| NamespaceCases {
        name,
        labels,
        objects: vec![],
        cases: pods(below_restricted, privileged),
    };
    let restricted = Rejected("violates PodSecurity \"restricted:latest\"");
    let baseline = Rejected("violates PodSecurity \"baseline:latest\"");
    vec![
        enforced(
            "Pod Security restricted",
            &[("pod-security.kubernetes.io/enforce", "restricted")],
            restricted,
            restricted,
        ),
        enforced(
            "Pod Security baseline and warnings of restricted",
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
