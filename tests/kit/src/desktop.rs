//! Desktop pods of three sizes, and the AdmissionReview that the API server sends for each: the pod as admission plugins
//! before us leave it, with every default filled in, the token's volume mounted and who set which field written down.

use serde_json::{Map, Value, json};

/// How much a desktop carries. The review of each is within a twentieth of its [`Size::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One container and a handful of variables.
    Small,
    /// A desktop with a home, shared memory, a GPU and probes.
    Medium,
    /// The same with six helpers beside it and a broker's state in its annotations.
    Large,
}

/// What a size is made of.
struct Furniture {
    helpers: usize,
    variables: usize,
    volumes: usize,
    annotations: usize,
    whole: bool,
}

/// A desktop as a broker would create it.
#[must_use]
pub fn pod(size: Size) -> Value {
    let Furniture { helpers, volumes, annotations, .. } = size.furniture();
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
    /// All, smallest first.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// Nominal bytes of the review.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Small => 2_200,
            Self::Medium => 6_000,
            Self::Large => 41_000,
        }
    }

    /// One word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }

    fn furniture(self) -> Furniture {
        let (helpers, variables, volumes, annotations, whole) = match self {
            Self::Small => (0, 0, 0, 0, false),
            Self::Medium => (0, 9, 3, 2, true),
            Self::Large => (6, 23, 8, 20, true),
        };
        Furniture { helpers, variables, volumes, annotations, whole }
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
    let Furniture { variables, volumes, whole, .. } = size.furniture();
    let variable =
        |number| json!({"name": format!("DESKTOP_SETTING_{number}"), "value": format!("value of {number}")});
    let mount =
        |number| json!({"name": format!("volume-{number}"), "mountPath": format!("/mnt/volume-{number}")});
    let mut container = json!({
        "name": name,
        "image": format!("registry.example.com/desktops/{name}:24.04"),
        "resources": {},
    });
    if whole {
        container["env"] = (0..variables).map(variable).collect();
        container["volumeMounts"] = (0..volumes).map(mount).collect();
        container["readinessProbe"] = json!({"tcpSocket": {"port": 3389}, "periodSeconds": 5});
        container["resources"] =
            json!({"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}});
    }
    if whole && name == "desktop" {
        container["ports"] = json!([{"name": "rdp", "containerPort": 3389}]);
        for amounts in ["requests", "limits"] {
            container["resources"][amounts]["nvidia.com/gpu"] = "1".into();
        }
    }
    container
}

/// The pod as it stands in the review, its fields in the API server's order.
fn admitted(mut pod: Value) -> String {
    default(&mut pod["spec"]);
    let owned = json!({"f:metadata": fields(&pod["metadata"]), "f:spec": fields(&pod["spec"])});
    plug_in(&mut pod["spec"]);
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

/// What API defaulting fills in, which server-side apply takes for the client's.
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

/// What the admission plugins before webhooks add.
fn plug_in(spec: &mut Value) {
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

/// The set of fields as server-side apply writes it: list items by their key, everything else by its name.
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
    fn reviews_are_as_large_as_they_say() {
        for size in Size::ALL {
            let body = review(size);
            let review: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(review["request"]["object"]["kind"], "Pod");
            let off = body.len().abs_diff(size.bytes());
            assert!(off * 20 <= size.bytes(), "{}: {} bytes", size.as_str(), body.len());
        }
    }
}
