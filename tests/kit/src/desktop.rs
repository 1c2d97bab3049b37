//! Desktop pods of three sizes, and the AdmissionReview that the API server sends for each. The pod in the review is as earlier
//! admission plugins leave it: with all defaults, with the token's volume and its mounts, and with managed fields.

use serde_json::{Map, Value, json};

/// The size of a desktop pod. Its review differs from [`Size::bytes`] by at most 5 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A container with a few fields.
    Small,
    /// A desktop with a home folder, shared memory, a GPU and probes.
    Medium,
    /// A medium desktop with six helper containers and a broker's state in its annotations.
    Large,
}

/// Contents of a pod of one size.
struct Contents {
    helpers: usize,
    variables: usize,
    volumes: usize,
    annotations: usize,
    /// Whether containers have variables, mounts, probes and resources.
    complete: bool,
}

/// A desktop as a broker creates it.
#[must_use]
pub fn pod(size: Size) -> Value {
    let Contents { helpers, volumes, annotations, .. } = size.contents();
    let helpers = (0..helpers).map(|number| container(&format!("helper-{number}"), size));
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "desktop-alice-",
            "labels": {"vdi-metrics.io/inject": "enabled", "vdi-metrics.io/session": "alice-1"},
        },
        "spec": {
            "automountServiceAccountToken": size != Size::Small,
            "containers": std::iter::once(container("desktop", size)).chain(helpers).collect::<Vec<_>>(),
            "securityContext": {},
        },
    });
    if annotations > 0 {
        pod["metadata"]["annotations"] = (0..annotations).map(annotation).collect::<Map<_, _>>().into();
    }
    if volumes > 0 {
        pod["spec"]["volumes"] = (0..volumes).map(volume).collect();
    }
    pod
}

/// The body of the request that the API server sends for [`pod`].
#[must_use]
pub fn review(size: Size) -> Vec<u8> {
    let user = match size {
        Size::Small => json!({"username": "broker", "groups": ["brokers", "system:authenticated"]}),
        _ => json!({"username": "system:serviceaccount:broker:broker", "uid": UID,
            "groups": ["system:serviceaccounts", "system:serviceaccounts:broker", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": [format!("JTI={UID}")]}}),
    };
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let options = json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "broker"});
    let request = in_order(&[
        ("uid", json!(UID).to_string()),
        ("kind", kind.to_string()),
        ("resource", resource.to_string()),
        ("requestKind", kind.to_string()),
        ("requestResource", resource.to_string()),
        ("namespace", json!("desktops").to_string()),
        ("operation", json!("CREATE").to_string()),
        ("userInfo", user.to_string()),
        ("object", admitted(pod(size))),
        ("oldObject", "null".to_owned()),
        ("dryRun", "false".to_owned()),
        ("options", options.to_string()),
    ]);
    let kind = ("kind", json!("AdmissionReview").to_string());
    let version = ("apiVersion", json!("admission.k8s.io/v1").to_string());
    let mut body = in_order(&[kind, version, ("request", request)]).into_bytes();
    body.push(b'\n');
    body
}

// === impl Size ===

impl Size {
    /// All sizes, the smallest first.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The nominal size of the review in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Small => 2_200,
            Self::Medium => 6_000,
            Self::Large => 41_000,
        }
    }

    /// The name of the size.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }

    fn contents(self) -> Contents {
        let (helpers, variables, volumes, annotations, complete) = match self {
            Self::Small => (0, 0, 0, 0, false),
            Self::Medium => (0, 9, 3, 2, true),
            Self::Large => (6, 23, 8, 20, true),
        };
        Contents { helpers, variables, volumes, annotations, complete }
    }
}

fn annotation(number: usize) -> (String, Value) {
    let state = json!({"broker": {"session": "alice-1", "step": number, "state": "assigned"}});
    (format!("broker.example.com/state-{number}"), state.to_string().into())
}

fn volume(number: usize) -> Value {
    let name = format!("volume-{number}");
    match number % 4 {
        0 => json!({"name": name, "persistentVolumeClaim": {"claimName": "home-alice"}}),
        1 => json!({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}),
        2 => json!({"name": name, "configMap": {"name": "desktop-settings", "defaultMode": 420}}),
        _ => json!({"name": name, "secret": {"secretName": "license-server", "defaultMode": 420}}),
    }
}

fn container(name: &str, size: Size) -> Value {
    let Contents { variables, volumes, complete, .. } = size.contents();
    let variable =
        |number| json!({"name": format!("DESKTOP_SETTING_{number}"), "value": format!("value of {number}")});
    let mount =
        |number| json!({"name": format!("volume-{number}"), "mountPath": format!("/mnt/volume-{number}")});
    let mut container = json!({
        "name": name,
        "image": format!("registry.example.com/desktops/{name}:24.04"),
        "resources": {},
    });
    if complete {
        container["env"] = (0..variables).map(variable).collect();
        container["volumeMounts"] = (0..volumes).map(mount).collect();
        container["readinessProbe"] = json!({"tcpSocket": {"port": 3389}, "periodSeconds": 5});
        container["resources"] =
            json!({"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}});
    }
    if complete && name == "desktop" {
        container["ports"] = json!([{"name": "rdp", "containerPort": 3389}]);
        for amounts in ["requests", "limits"] {
            container["resources"][amounts]["nvidia.com/gpu"] = "1".into();
        }
    }
    container
}

/// The pod in the review, with its fields in the API server's order.
fn admitted(mut pod: Value) -> String {
    default(&mut pod["spec"]);
    let owned = json!({"f:metadata": fields(&pod["metadata"]), "f:spec": fields(&pod["spec"])});
    add_plugin_fields(&mut pod["spec"]);
    let managed = json!([{"manager": "broker", "operation": "Update", "apiVersion": "v1", "time": TIME,
        "fieldsType": "FieldsV1", "fieldsV1": owned}]);
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    let mut of_metadata = vec![
        ("generateName", metadata["generateName"].to_string()),
        ("namespace", json!("desktops").to_string()),
        ("uid", json!(UID).to_string()),
        ("creationTimestamp", json!(TIME).to_string()),
        ("labels", metadata["labels"].to_string()),
        ("annotations", metadata["annotations"].to_string()),
        ("managedFields", managed.to_string()),
    ];
    of_metadata.retain(|(_, value)| value != "null");
    let mut of_spec: Vec<_> = SPEC_ORDER.iter().map(|name| (*name, spec[name].to_string())).collect();
    of_spec.retain(|(_, value)| value != "null");
    in_order(&[
        ("kind", json!("Pod").to_string()),
        ("apiVersion", json!("v1").to_string()),
        ("metadata", in_order(&of_metadata)),
        ("spec", in_order(&of_spec)),
        ("status", "{}".to_owned()),
    ])
}

/// Adds the API server's defaults. Server-side apply counts them as fields of the client.
fn default(spec: &mut Value) {
    merge(
        spec,
        json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "enableServiceLinks": true}),
    );
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        merge(
            container,
            json!({"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File"}),
        );
        for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            merge(port, json!({"protocol": "TCP"}));
        }
        if let Some(probe) = container.get_mut("readinessProbe") {
            merge(probe, json!({"failureThreshold": 3, "successThreshold": 1, "timeoutSeconds": 1}));
        }
    }
}

/// Adds what the admission plugins before the webhooks add.
fn add_plugin_fields(spec: &mut Value) {
    let tolerations = ["not-ready", "unreachable"].map(|taint| {
        json!({"key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": 300})
    });
    merge(
        spec,
        json!({"serviceAccountName": "default", "serviceAccount": "default", "tolerations": tolerations,
            "priority": 0, "preemptionPolicy": "PreemptLowerPriority"}),
    );
    if spec["automountServiceAccountToken"] == true {
        mount_token(spec);
    }
}

fn mount_token(spec: &mut Value) {
    let root = json!({"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]});
    let namespace =
        json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    let sources = json!([{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}, {"configMap": root},
        {"downwardAPI": {"items": [namespace]}}]);
    push(&mut spec["volumes"], json!({"name": TOKEN, "projected": {"sources": sources, "defaultMode": 420}}));
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        let mount = json!({"name": TOKEN, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
        push(&mut container["volumeMounts"], mount);
    }
}

/// The set of fields in the format of server-side apply: list items by their key, other fields by their name.
fn fields(value: &Value) -> Value {
    let mut set = Map::new();
    match value {
        Value::Object(object) => {
            let sent = object.iter().filter(|(name, _)| *name != "generateName");
            set.extend(sent.map(|(name, value)| (format!("f:{name}"), fields(value))));
        }
        Value::Array(items) => set.extend(items.iter().filter_map(|item| {
            let key = ["containerPort", "mountPath", "name"].iter().find(|key| item.get(**key).is_some())?;
            let mut of_item = fields(item);
            of_item["."] = json!({});
            Some((format!("k:{}", json!({*key: item[*key]})), of_item))
        })),
        _ => {}
    }
    set.into()
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn push(list: &mut Value, item: Value) {
    if let Value::Array(list) = list {
        list.push(item);
    }
}

fn in_order(fields: &[(&str, String)]) -> String {
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

const SPEC_ORDER: &[&str] = &[
    "volumes",
    "containers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "dnsPolicy",
    "serviceAccountName",
    "serviceAccount",
    "automountServiceAccountToken",
    "securityContext",
    "schedulerName",
    "tolerations",
    "priority",
    "enableServiceLinks",
    "preemptionPolicy",
];
const TIME: &str = "2026-01-01T00:00:00Z";
const TOKEN: &str = "kube-api-access-x7k2p";
const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_have_their_nominal_size() {
        for size in Size::ALL {
            let body = review(size);
            let review: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(review["request"]["object"]["kind"], "Pod");
            let difference = body.len().abs_diff(size.bytes());
            assert!(difference * 20 <= size.bytes(), "{}: {} bytes", size.as_str(), body.len());
        }
    }
}
