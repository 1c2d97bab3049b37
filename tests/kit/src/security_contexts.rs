//! Security contexts of a sidecar that another program has damaged, or has only changed. The webhook repairs the damaged ones,
//! and the warning policy warns about them: both are tested with this table.

use serde_json::Value;

/// A changed security context of an injected sidecar.
#[derive(Debug)]
pub struct ChangedContext {
    /// A word for each property, joined by dashes; it can be the name of a pod.
    pub name: &'static str,
    /// A JSON merge patch of the sidecar's security context: null removes a field.
    change: &'static str,
    /// Fields of the pod's spec.
    spec: &'static str,
    /// Whether the context is still as safe as the injected one.
    pub is_safe: bool,
}

const fn safe(name: &'static str, change: &'static str) -> ChangedContext {
    ChangedContext { name, change, spec: "{}", is_safe: true }
}

const fn damaged(name: &'static str, change: &'static str) -> ChangedContext {
    ChangedContext { name, change, spec: "{}", is_safe: false }
}

const ROOT: &str = r#"{"securityContext": {"runAsUser": 0}}"#;

/// Every changed context.
pub const CHANGED_CONTEXTS: [ChangedContext; 45] = [
    safe("unchanged", "{}"),
    safe("drops-only-all", r#"{"capabilities": {"drop": ["ALL"]}}"#),
    safe("drops-more", r#"{"capabilities": {"drop": ["CAP_NET_RAW", "ALL", "NET_RAW"]}}"#),
    damaged("drops-one", r#"{"capabilities": {"drop": ["NET_RAW"]}}"#),
    damaged("drops-in-lower-case", r#"{"capabilities": {"drop": ["all"]}}"#),
    damaged("drops-nothing", r#"{"capabilities": {"drop": []}}"#),
    damaged("without-drop", r#"{"capabilities": {"drop": null}}"#),
    damaged("without-capabilities", r#"{"capabilities": null}"#),
    safe("adds-no-capability", r#"{"capabilities": {"add": []}}"#),
    damaged("adds-net-bind-service", r#"{"capabilities": {"add": ["NET_BIND_SERVICE"]}}"#),
    damaged("adds-net-admin", r#"{"capabilities": {"add": ["NET_ADMIN"]}}"#),
    safe("own-seccomp", r#"{"seccompProfile": {"type": "Localhost", "localhostProfile": "own.json"}}"#),
    damaged("seccomp-unconfined", r#"{"seccompProfile": {"type": "Unconfined"}}"#),
    damaged("without-seccomp", r#"{"seccompProfile": null}"#),
    ChangedContext {
        name: "seccomp-of-the-pod",
        change: r#"{"seccompProfile": null}"#,
        spec: r#"{"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}"#,
        is_safe: false,
    },
    damaged("may-be-root", r#"{"runAsNonRoot": false}"#),
    damaged("without-non-root", r#"{"runAsNonRoot": null}"#),
    ChangedContext {
        name: "non-root-of-the-pod",
        change: r#"{"runAsNonRoot": null}"#,
        spec: r#"{"securityContext": {"runAsNonRoot": true}}"#,
        is_safe: false,
    },
    damaged("user-0", r#"{"runAsUser": 0}"#),
    damaged("user-and-group-0", r#"{"runAsUser": 0, "runAsGroup": 0}"#),
    damaged("without-user", r#"{"runAsUser": null}"#),
    safe("other-user", r#"{"runAsUser": 1000}"#),
    safe("other-user-and-group", r#"{"runAsUser": 1000, "runAsGroup": 1000}"#),
    safe("user-of-a-namespace", r#"{"runAsUser": 1000640000, "runAsGroup": null}"#),
    safe("without-user-and-group", r#"{"runAsUser": null, "runAsGroup": null}"#),
    ChangedContext {
        name: "user-0-of-the-pod",
        change: r#"{"runAsUser": null, "runAsGroup": null}"#,
        spec: ROOT,
        is_safe: false,
    },
    ChangedContext {
        name: "user-of-the-pod",
        change: r#"{"runAsUser": null, "runAsGroup": null}"#,
        spec: r#"{"securityContext": {"runAsUser": 1000}}"#,
        is_safe: true,
    },
    ChangedContext { name: "own-user-in-a-pod-of-root", change: "{}", spec: ROOT, is_safe: true },
    damaged("group-0", r#"{"runAsGroup": 0}"#),
    damaged("without-group", r#"{"runAsGroup": null}"#),
    safe("other-group", r#"{"runAsGroup": 1000}"#),
    damaged("privileged", r#"{"privileged": true, "allowPrivilegeEscalation": true}"#),
    safe("without-privileged", r#"{"privileged": null}"#),
    damaged("escalates", r#"{"allowPrivilegeEscalation": true}"#),
    damaged("without-escalation", r#"{"allowPrivilegeEscalation": null}"#),
    damaged("writable", r#"{"readOnlyRootFilesystem": false}"#),
    damaged("without-read-only", r#"{"readOnlyRootFilesystem": null}"#),
    safe("default-proc-mount", r#"{"procMount": "Default"}"#),
    ChangedContext {
        name: "unmasked-proc-mount",
        change: r#"{"procMount": "Unmasked"}"#,
        spec: r#"{"hostUsers": false}"#,
        is_safe: false,
    },
    safe("default-apparmor", r#"{"appArmorProfile": {"type": "RuntimeDefault"}}"#),
    safe("own-apparmor", r#"{"appArmorProfile": {"type": "Localhost", "localhostProfile": "own"}}"#),
    damaged("apparmor-unconfined", r#"{"appArmorProfile": {"type": "Unconfined"}}"#),
    safe("own-selinux", r#"{"seLinuxOptions": {"level": "s0:c123,c456"}}"#),
    safe("empty-selinux", r#"{"seLinuxOptions": {}}"#),
    damaged("several", r#"{"runAsUser": 0, "readOnlyRootFilesystem": false, "capabilities": null}"#),
];

// === impl ChangedContext ===

impl ChangedContext {
    /// Changes a pod before it is injected.
    pub fn prepare(&self, pod: &mut Value) {
        json_patch::merge(&mut pod["spec"], &read(self.spec));
    }

    /// Changes the security context of the injected sidecar.
    pub fn change(&self, context: &mut Value) {
        json_patch::merge(context, &read(self.change));
    }
}

fn read(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}
