//! Pods at random: everything that admission decides on, in every shape that the API server lets through, and fields
//! that no release knows yet at every level. About half of them are to be injected.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// What makes fields of an object: a name and a value, or nothing.
type Field = BoxedStrategy<Option<(String, Value)>>;

/// A JSON number that no machine type holds stands in a [`Value`] as a string that begins with this; [`text`] writes it
/// out.
const NUMBER: char = '\u{e000}';

/// A pod as the API server would take it.
pub fn sound() -> BoxedStrategy<Value> {
    object(vec![
        field(0.1, "apiVersion", just(json!("v1"))),
        field(
            0.95,
            "metadata",
            object(vec![
                field(0.5, "name", just(json!("alice"))),
                field(0.3, "generateName", just(json!("desktop-"))),
                field(0.7, "labels", map(LABELS, DECIDING_LABELS)),
                field(0.7, "annotations", map(ANNOTATIONS, DECIDING_ANNOTATIONS)),
            ]),
        ),
        always(
            "spec",
            prop_oneof![
                1 => spec(any_of(GUARANTEED)),
                1 => spec(any_of(BEST_EFFORT)),
                2 => spec(any_of(BURSTABLE)),
            ],
        ),
        field(0.05, "status", just(json!({"phase": "Pending"}))),
    ])
}

/// A pod in which, perhaps, one value is of another kind than it should be.
pub fn damaged() -> BoxedStrategy<Value> {
    let damage = (any::<prop::sample::Index>(), select(ODDITIES));
    (sound(), option::weighted(0.3, damage))
        .prop_map(|(mut pod, damage)| {
            if let Some((place, (_, odd))) = damage {
                let mut places = vec![];
                pointers(&pod, "", &mut places);
                let place: &String = place.get(&places);
                if let Some(value) = pod.pointer_mut(place) {
                    *value = read(odd);
                }
            }
            pod
        })
        .boxed()
}

/// The text of a document with its outsized numbers in it.
pub fn text(document: &Value) -> String {
    let (text, mark) = (document.to_string(), format!("\"{NUMBER}"));
    let mut parts = text.split(&mark);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (number, rest) = part.split_once('"').unwrap_or((part, ""));
        text + number + rest
    })
}

fn spec(resources: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let claims = any_of(&[(
        "",
        r#"[{"name": "gpu", "resourceClaimTemplateName": "one"}, {"name": "spare", "resourceClaimName": "two"}]"#,
    )]);
    object(vec![
        always("containers", vec(container(resources.clone(), any_of(DESKTOPS)), 1..3).prop_map(Value::from)),
        field(0.4, "initContainers", list(container(resources, any_of(INITS)))),
        field(0.4, "volumes", list(any_of(VOLUMES))),
        field(0.25, "resourceClaims", claims),
        field(0.12, "resources", any_of(POD_RESOURCES)),
        field(0.3, "imagePullSecrets", list(any_of(PULL_SECRETS))),
        any_field(0.3, DECIDING),
        any_field(0.5, INDIFFERENT),
        any_field(0.5, INDIFFERENT),
    ])
}

/// A container; `base` holds its name and what only its kind has.
fn container(resources: BoxedStrategy<Value>, base: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let rest = object(vec![
        field(0.3, "ports", list(any_of(PORTS))),
        field(0.9, "resources", resources),
        field(0.2, "env", list(any_of(ENVIRONMENT))),
        field(0.2, "volumeMounts", list(any_of(MOUNTS))),
        any_field(0.3, CONTAINER_FIELDS),
    ]);
    (base, rest).prop_map(|(base, rest)| merged(base, rest)).boxed()
}

fn merged(mut base: Value, rest: Value) -> Value {
    if let (Value::Object(base), Value::Object(rest)) = (&mut base, rest) {
        base.extend(rest);
    }
    base
}

/// An object of these fields, and now and then one that nobody knows.
fn object(mut fields: Vec<Field>) -> BoxedStrategy<Value> {
    fields.push(any_field(0.1, UNKNOWN));
    fields.push(option::weighted(0.05, ("future[A-Z~/]{1,3}", json_value())).boxed());
    fields.prop_map(|fields| fields.into_iter().flatten().collect::<Map<_, _>>().into()).boxed()
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = select(ODDITIES).prop_map(|(_, json)| read(json));
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z./~]{1,8}", inner), 0..3)
                .prop_map(|pairs| pairs.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

/// Labels or annotations, seldom with one among them that decides.
fn map(plain: &'static [Row], deciding: &'static [Row]) -> BoxedStrategy<Value> {
    let pair = |rows| select(rows).prop_map(|(key, value): Row| (key.to_owned(), Value::from(value)));
    let plain = vec(pair(plain), 0..5).boxed();
    let pairs = (plain, option::weighted(0.3, pair(deciding)));
    let map =
        pairs.prop_map(|(plain, deciding)| plain.into_iter().chain(deciding).collect::<Map<_, _>>().into());
    nullable(map.boxed(), json!({}))
}

fn list(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    nullable(vec(item, 1..3).prop_map(Value::from).boxed(), json!([]))
}

fn nullable(value: BoxedStrategy<Value>, empty: Value) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 1 => Just(empty), 14 => value].boxed()
}

fn just(value: Value) -> BoxedStrategy<Value> {
    Just(value).boxed()
}

fn always(name: &'static str, value: impl Strategy<Value = Value> + 'static) -> Field {
    value.prop_map(move |value| Some((name.to_owned(), value))).boxed()
}

fn field(chance: f64, name: &'static str, value: BoxedStrategy<Value>) -> Field {
    option::weighted(chance, value.prop_map(move |value| (name.to_owned(), value))).boxed()
}

/// One row of a table as a field.
fn any_field(chance: f64, rows: &'static [Row]) -> Field {
    option::weighted(chance, select(rows).prop_map(|(name, json)| (name.to_owned(), read(json)))).boxed()
}

/// The JSON of one row of a table, in which the name says nothing.
fn any_of(rows: &'static [Row]) -> BoxedStrategy<Value> {
    select(rows).prop_map(|(_, json)| read(json)).boxed()
}

fn read(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The JSON pointers to every value of the document but the whole.
fn pointers(document: &Value, at: &str, found: &mut Vec<String>) {
    let entries: Vec<(String, &Value)> = match document {
        Value::Object(map) => map.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect(),
        Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => vec![],
    };
    for (key, value) in entries {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, found);
        found.push(pointer);
    }
}

// === the tables: name or key, and JSON or text ===

type Row = (&'static str, &'static str);

const LABELS: &[Row] = &[
    ("app", "desktop"),
    ("app.kubernetes.io/name", "desktop"),
    ("til~de/sl.ash", "x"),
    ("~1", "~0"),
    ("vdi-metrics.io/inject", "enabled"),
    ("vdi-metrics.io/session", "alice-7"),
    ("vdi-metrics.io/template", "gnome"),
    ("vdi-metrics.io/user", "alice"),
    ("vdi-metrics.io/pool", ""),
    ("example.com/session", "bob-1"),
    ("prometheus.io/scrape", "true"),
];

const DECIDING_LABELS: &[Row] = &[
    ("vdi-metrics.io/inject", "disabled"),
    ("vdi-metrics.io/inject", "Disabled"),
    ("vdi-metrics.io/inject", ""),
    ("vdi-metrics.io/injected", "true"),
    ("vdi-metrics.io/injected", "no"),
    ("vdi-metrics.io/future", "x"),
    ("kubevirt.io", "virt-launcher"),
];

const ANNOTATIONS: &[Row] = &[
    ("note", "Alice's \"desktop\"\n\u{1f5a5}"),
    ("a~b/c~1d", "x"),
    ("/", "~"),
    ("vdi-metrics.io/session", "S 7@example.com"),
    ("vdi-metrics.io/template", "two\nlines"),
    ("vdi-metrics.io/user", "alice@example.com"),
    ("vdi-metrics.io/port", "9500"),
    ("vdi-metrics.io/port", "80"),
    ("vdi-metrics.io/port", "99999999999999999999"),
    ("vdi-metrics.io/interval", "30"),
    ("vdi-metrics.io/interval", "-1"),
    ("vdi-metrics.io/cpu", "50m"),
    ("vdi-metrics.io/cpu", "0.05"),
    ("vdi-metrics.io/cpu", "0"),
    ("vdi-metrics.io/cpu", "0.0001"),
    ("vdi-metrics.io/memory", "32Mi"),
    ("vdi-metrics.io/memory", "0"),
    ("vdi-metrics.io/memory", "1e9Gi"),
    ("vdi-metrics.io/memory", "lots"),
    ("vdi-metrics.io/image", "registry.example.com/sidecar:1"),
    ("vdi-metrics.io/image", "not an image"),
    ("vdi-metrics.io/image", ""),
    ("vdi-metrics.io/mode", "container"),
    ("vdi-metrics.io/mode", "native"),
    ("vdi-metrics.io/mode", "sideways"),
    ("vdi-metrics.io/gpu-access", "claims"),
    ("vdi-metrics.io/gpu-access", "runtime"),
    ("vdi-metrics.io/gpu-access", "none"),
    ("vdi-metrics.io/gpu-access", "all of them"),
    ("vdi-metrics.io/gpu-access", "whatever the node has to offer"),
    ("vdi-metrics.io/interval", "\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\u{1f}\u{7f}\u{85}\u{e000}\u{2028}"),
    ("vdi-metrics.io/prot", "9500"),
    ("prometheus.io/scrape", "true"),
    ("prometheus.io/scrape", "false"),
    ("prometheus.io/port", "8080"),
    ("prometheus.io/path", "/mine"),
    ("prometheus.io.scrape", "true"),
    ("Prometheus.io/Scrape", "TRUE"),
    ("openshift.io/scc", "restricted-v2"),
];

const DECIDING_ANNOTATIONS: &[Row] = &[
    ("vdi-metrics.io/inject", "disabled"),
    ("vdi-metrics.io/inject", "enabled"),
    ("vdi-metrics.io/status", "injected"),
    ("vdi-metrics.io/status", "skipped: opted_out"),
    ("vdi-metrics.io/config", "0123456789abcdef"),
    ("kubernetes.io/config.mirror", "f00"),
];

/// Fields of the spec that decide.
const DECIDING: &[Row] = &[
    ("hostNetwork", "true"),
    ("os", r#"{"name": "windows"}"#),
    ("nodeSelector", r#"{"kubernetes.io/os": "windows"}"#),
    ("containers", r#"[{"name": "vdi-metrics", "image": "theirs"}]"#),
    ("initContainers", r#"[{"name": "vdi-metrics", "image": "theirs", "restartPolicy": "Always"}]"#),
    ("volumes", r#"[{"name": "vdi-metrics", "emptyDir": {}}]"#),
];

const INDIFFERENT: &[Row] = &[
    ("hostNetwork", "false"),
    ("os", r#"{"name": "linux"}"#),
    ("nodeSelector", r#"{"kubernetes.io/os": "linux", "gpu": "yes"}"#),
    ("nodeSelector", "null"),
    ("restartPolicy", r#""Never""#),
    ("restartPolicy", r#""OnFailure""#),
    ("restartPolicy", r#""Always""#),
    ("runtimeClassName", r#""nvidia""#),
    ("securityContext", r#"{"runAsUser": 0, "runAsNonRoot": false}"#),
    (
        "securityContext",
        r#"{"runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}"#,
    ),
    ("securityContext", r#"{"windowsOptions": {"runAsUserName": "x"}}"#),
    ("hostUsers", "false"),
    ("hostPID", "true"),
    ("shareProcessNamespace", "true"),
    ("automountServiceAccountToken", "false"),
    ("serviceAccountName", r#""desktops""#),
    ("activeDeadlineSeconds", "9223372036854775807"),
    ("ephemeralContainers", r#"[{"name": "debug", "image": "x", "targetContainerName": "desktop"}]"#),
    ("schedulingGates", r#"[{"name": "example.com/wait"}]"#),
    ("tolerations", r#"[{"key": "nvidia.com/gpu", "operator": "Exists"}]"#),
    ("overhead", r#"{"cpu": "250m", "memory": "120Mi"}"#),
    ("dnsPolicy", r#""None""#),
];

const DESKTOPS: &[Row] = &[
    ("", r#"{"name": "desktop", "image": "registry.example.com/desktop:1"}"#),
    ("", r#"{"name": "desktop", "image": "desktop"}"#),
    ("", r#"{"name": "viewer", "image": "viewer:latest", "restartPolicy": "Never"}"#),
    ("", r#"{"name": "istio-proxy", "image": "proxy@sha256:00"}"#),
    ("", r#"{"name": "esc\u0061ped", "image": "x"}"#),
];

const INITS: &[Row] = &[
    ("", r#"{"name": "prepare", "image": "x:1"}"#),
    ("", r#"{"name": "proxy", "image": "x:1", "restartPolicy": "Always"}"#),
    ("", r#"{"name": "wait", "image": "x", "restartPolicy": null}"#),
];

const CONTAINER_FIELDS: &[Row] = &[
    ("securityContext", r#"{"privileged": true, "runAsUser": 0}"#),
    ("securityContext", "{}"),
    ("livenessProbe", r#"{"httpGet": {"port": 9478, "path": "/"}, "periodSeconds": 3}"#),
    ("lifecycle", r#"{"preStop": {"exec": {"command": ["sleep", "5"]}}}"#),
    ("resizePolicy", r#"[{"resourceName": "cpu", "restartPolicy": "NotRequired"}]"#),
    ("terminationMessagePath", r#""/tmp/end""#),
    ("imagePullPolicy", r#""Never""#),
    ("command", r#"["sh", "-c", "exec desktop"]"#),
    ("tty", "true"),
];

const PORTS: &[Row] = &[
    ("", r#"{"containerPort": 8080, "name": "http"}"#),
    ("", r#"{"containerPort": 9478}"#),
    ("", r#"{"containerPort": 9478, "protocol": "UDP"}"#),
    ("", r#"{"containerPort": 9479, "name": "vdi-metrics", "protocol": "TCP"}"#),
    ("", r#"{"containerPort": 9500, "hostPort": 9500}"#),
    ("", r#"{"containerPort": 65535}"#),
];

const ENVIRONMENT: &[Row] = &[
    ("", r#"{"name": "DISPLAY", "value": ":0"}"#),
    ("", r#"{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}"#),
    ("", r#"{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}"#),
    ("", r#"{"name": "VDI_METRICS_LISTEN", "value": "theirs"}"#),
];

const MOUNTS: &[Row] = &[
    ("", r#"{"name": "home", "mountPath": "/home"}"#),
    ("", r#"{"name": "home", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}"#),
];

const VOLUMES: &[Row] = &[
    ("", r#"{"name": "home", "persistentVolumeClaim": {"claimName": "alice"}}"#),
    ("", r#"{"name": "scratch"}"#),
    ("", r#"{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}"#),
    ("", r#"{"name": "settings", "configMap": {"name": "settings"}}"#),
    (
        "",
        r#"{"name": "me", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}"#,
    ),
    ("", r#"{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}"#),
    ("", r#"{"name": "kube-api-access-x1y2z", "projected": {"sources": []}}"#),
];

const PULL_SECRETS: &[Row] = &[("", r#"{"name": "registry"}"#), ("", r#"{"name": "theirs"}"#), ("", "{}")];

const GUARANTEED: &[Row] = &[
    ("", r#"{"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}}"#),
    ("", r#"{"limits": {"cpu": "1.5", "memory": "2G"}}"#),
    ("", r#"{"limits": {"cpu": 2, "memory": 1073741824}, "requests": null}"#),
    (
        "",
        r#"{"requests": {"cpu": "2e0"}, "limits": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"}, "claims": [{"name": "gpu"}]}"#,
    ),
];

const BEST_EFFORT: &[Row] = &[
    ("", "{}"),
    ("", "null"),
    ("", r#"{"requests": {}, "limits": null}"#),
    ("", r#"{"requests": {"cpu": "0"}, "limits": {}}"#),
    ("", r#"{"limits": {"nvidia.com/gpu": "1"}}"#),
    ("", r#"{"claims": [{"name": "gpu"}]}"#),
    ("", r#"{"claims": [{"name": "gpu", "request": "card"}, {"name": "spare"}]}"#),
];

const BURSTABLE: &[Row] = &[
    ("", "{}"),
    ("", r#"{"requests": {"cpu": "100m"}}"#),
    ("", r#"{"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}"#),
    ("", r#"{"limits": {"memory": "512Mi"}}"#),
    ("", r#"{"limits": {"cpu": "1", "memory": "1Gi"}}"#),
    ("", r#"{"limits": {"nvidia.com/gpu": 1, "memory": "1Gi"}, "requests": {"nvidia.com/gpu": 1}}"#),
    ("", r#"{"requests": {"memory": "1Gi"}, "claims": [{"name": "gpu", "request": "card"}]}"#),
    ("", r#"{"limits": {"cpu": "0.0000001"}}"#),
    ("", r#"{"claims": []}"#),
];

const POD_RESOURCES: &[Row] = &[
    ("", "{}"),
    ("", "null"),
    ("", r#"{"limits": {}}"#),
    ("", r#"{"limits": {"cpu": "2", "memory": "2Gi"}}"#),
    ("", r#"{"requests": {"memory": "2Gi"}}"#),
    ("", r#"{"requests": {"cpu": "2"}, "limits": {"cpu": "4"}}"#),
    ("", r#"{"limits": {"hugepages-2Mi": "4Mi"}}"#),
];

/// What a later release may bring, and what could be taken for something of ours where it is not.
const UNKNOWN: &[Row] = &[
    ("futureNumber", "\"\u{e000}123456789012345678901234567890.5\""),
    ("futureExponent", "\"\u{e000}1E400\""),
    ("futureZero", "\"\u{e000}-0.0\""),
    ("futureInteger", "18446744073709551615"),
    ("future~1/0", r#"{"name": "vdi-metrics", "containerPort": 9478}"#),
    ("Containers", r#"[{"name": "vdi-metrics"}]"#),
    ("sidecars", r#"[{"name": "vdi-metrics", "restartPolicy": "Always"}]"#),
    ("", r#"{"": {"": []}}"#),
    ("futureNull", "null"),
    ("managedFields", r#"[{"fieldsV1": {"f:metadata": {"f:labels": {}}}}]"#),
];

/// One value of each kind.
const ODDITIES: &[Row] = &[
    ("", "null"),
    ("", "true"),
    ("", "7"),
    ("", "-1.5e3"),
    ("", "\"\u{e000}1E400\""),
    ("", r#""""#),
    ("", r#""vdi-metrics""#),
    ("", r#""\u0000""#),
    ("", "[]"),
    ("", "{}"),
    ("", "[[[{}]]]"),
    ("", r#"[{"name": "vdi-metrics"}]"#),
    ("", r#"{"name": "vdi-metrics"}"#),
];
