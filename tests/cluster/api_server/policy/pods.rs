//! The pods with which the webhook and the policy are compared.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::{common::root, own_control_plane::minimal_pod};

/// A pod with its name.
pub(super) type NamedPod = (String, Value);

/// Every pod with a golden file. The files of namespaces are left out, because a policy cannot read a namespace's limits.
pub(super) fn golden() -> Result<Vec<NamedPod>> {
    let pods = files()?.into_iter().filter(|(name, _)| !name.contains('.'));
    pods.map(|(name, path)| Ok((name, serde_saphyr::from_str(&fs::read_to_string(path)?)?))).collect()
}

/// The files in `tests/pods`, with their names.
pub(super) fn files() -> Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(root().join("tests/pods"))?.map(|entry| anyhow::Ok(entry?.path()));
    let named = entries.map(|path| {
        let path = path?;
        Ok((path.file_stem().context("no name")?.to_string_lossy().into_owned(), path))
    });
    named.collect()
}

/// Values at and beyond the limits of each annotation.
const ANNOTATIONS: [(&str, &[&str]); 10] = [
    (key::GPU, &["", "GPU-1"]),
    ("gpu-memory", &["2000"]),
    (key::PORT, &["1023", "1024", "65535", "65536", "09000", "+9000", "-1", "9000 ", "x", ""]),
    (key::INTERVAL, &["4", "5", "300", "301", "015", "15s", ""]),
    (key::CPU, &["1m", "0", "-1", "0.5", "1n", "1k", "1e-1000", "1e30", " 1", "+", "x", ""]),
    (
        key::MEMORY,
        &[
            "16Mi",
            "15Mi",
            "16777215",
            "16777216",
            "1Gi",
            "9223372036854775807",
            "9223372036854775808",
            "9Ei",
            "x",
            "",
        ],
    ),
    (key::IMAGE, &["r.example.com:5000/a/b:1", "a@sha256:00", "a b", "/a", "\u{e4}", ""]),
    (key::MODE, &["native", "container", "Native", ""]),
    (key::GPU_ACCESS, &["auto", "claims", "runtime", "none", "all", ""]),
    (key::PRESENCE, &["auto", "off", "Off", "on", "false", ""]),
];

type Change = fn(&mut Value);

#[expect(clippy::needless_pass_by_value, reason = "an inline json! is easier to read than a borrow of it")]
fn required(terms: Value) -> Value {
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
}

/// Session names with characters at the limits of what an environment variable can hold.
const NAMES: [&str; 6] =
    ["", "\u{fc}", "tab\there", "del\u{7f}", "next line\u{85}", "it's \"quoted\" \\ \u{1f5a5}"];

/// Changes to a minimal pod, each in one respect.
const CHANGES: [(&str, Change); 70] = [
    ("limits-only", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}})
    }),
    ("same-amounts-in-two-formats", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1000m", "memory": "1073741824"}, "limits": {"cpu": "1", "memory": "1Gi"}});
    }),
    ("cpu-limit-only", |pod| pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}})),
    ("zero-limits", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "0", "memory": "0"}});
    }),
    ("init-container-without-limits", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        pod["spec"]["initContainers"] = json!([{"name": "home", "image": "home:1"}]);
    }),
    ("pod-level-limits", |pod| pod["spec"]["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}})),
    ("claims-of-the-second-container", |pod| {
        let claims = json!({"claims": [{"name": "gpu", "request": "one"}, {"name": "other"}]});
        let second = json!({"name": "second", "image": "second:1", "resources": claims});
        pod["spec"]["containers"] = json!([pod["spec"]["containers"][0].take(), second]);
        pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "x"}, {"name": "other", "resourceClaimTemplateName": "y"}]);
    }),
    ("root", |pod| pod["spec"]["securityContext"] = json!({"runAsUser": 0})),
    ("root-with-scc", |pod| {
        pod["spec"]["securityContext"] = json!({"runAsUser": 0});
        pod["metadata"]["annotations"] = json!({"openshift.io/scc": "anyuid"});
    }),
    ("job", |pod| pod["spec"]["restartPolicy"] = json!("Never")),
    ("with-secrets", |pod| pod["spec"]["imagePullSecrets"] = json!([{"name": "pull-one"}, {"name": "mine"}])),
    ("secret-without-name", |pod| pod["spec"]["imagePullSecrets"] = json!([{}])),
    ("other-scrape-annotation", |pod| pod["metadata"]["annotations"] = json!({"PROMETHEUS_io.port": "1"})),
    ("scrape-annotation-of-another-domain", |pod| {
        pod["metadata"]["annotations"] = json!({"example.com/prometheus.io": "1"})
    }),
    ("windows-node", |pod| pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"})),
    ("windows-only-affinity", |pod| {
        pod["spec"]["affinity"] = required(json!([
            {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "NotIn", "values": ["linux", "darwin"]}]},
            {"matchExpressions": [{"key": "node.kubernetes.io/windows-build", "operator": "In", "values": ["10.0.20348"]}]},
            {"matchExpressions": [{"key": "kubernetes.azure.com/os-sku", "operator": "In", "values": ["Windows2022"]}]},
            {"matchExpressions": [{"key": "beta.kubernetes.io/os", "operator": "In", "values": ["windows"]}]},
            {},
        ]));
    }),
    ("linux-in-one-term", |pod| {
        pod["spec"]["affinity"] = required(json!([
            {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["windows"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]},
        ]));
    }),
    ("no-windows-build", |pod| {
        pod["spec"]["affinity"] = required(json!([
            {"matchExpressions": [{"key": "node.kubernetes.io/windows-build", "operator": "DoesNotExist"}, {"key": "gpu", "operator": "Gt", "values": ["1"]}]},
        ]));
    }),
    ("affinity-that-contradicts-the-selector", |pod| {
        pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "linux"});
        pod["spec"]["affinity"] = required(
            json!([{"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["windows"]}]}]),
        );
    }),
    ("windows-options", |pod| {
        pod["spec"]["securityContext"] = json!({"windowsOptions": {"runAsUserName": "ContainerUser"}});
    }),
    ("windows-options-on-linux", |pod| {
        pod["spec"]["containers"][0]["securityContext"] = json!({"windowsOptions": {}});
        pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "linux"});
    }),
    ("other-architecture", |pod| pod["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/arch": "s390x"})),
    ("one-architecture-of-the-image", |pod| {
        pod["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "amd64"})
    }),
    ("windows-or-another-architecture", |pod| {
        pod["spec"]["affinity"] = required(json!([
            {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["windows"]}]},
            {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "NotIn", "values": ["amd64", "arm64"]}]},
        ]));
    }),
    ("virtual-or-other-nodes", |pod| {
        pod["spec"]["affinity"] = required(json!([
            {"matchExpressions": [{"key": "type", "operator": "In", "values": ["virtual-kubelet", "gpu"]}]},
        ]));
    }),
    ("no-virtual-nodes", |pod| {
        pod["spec"]["affinity"] = required(json!([
            {"matchExpressions": [{"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]}, {"key": "kubernetes.io/arch", "operator": "Exists"}]},
        ]));
    }),
    ("own-device-class", |pod| {
        let limits = json!({"limits": {"deviceclass.resource.kubernetes.io/cards": "1"}});
        pod["spec"]["containers"][0]["resources"] = limits;
    }),
    ("copied-without-annotations", |pod| {
        let ports = json!([{"name": "vdi-metrics", "containerPort": 9478}]);
        pod["spec"]["initContainers"] =
            json!([{"name": "vdi-metrics", "image": "sidecar:0", "restartPolicy": "Always", "ports": ports}]);
    }),
    ("claim-of-a-group", |pod| {
        pod["spec"]["schedulingGroup"] = json!({"podGroupName": "render"});
        pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimTemplateName": "x"}]);
        pod["spec"]["containers"][0]["resources"] = json!({"claims": [{"name": "gpu", "request": "one"}]});
    }),
    ("claims-of-an-init-container", |pod| {
        let claims = json!({"claims": [{"name": "gpu"}]});
        pod["spec"]["initContainers"] = json!([{"name": "check", "image": "c:1", "resources": claims}]);
        pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "x"}]);
    }),
    ("undeclared-claim", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"claims": [{"name": "gpu"}, {"name": "missing"}]});
        pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "x"}]);
    }),
    ("mig-slice", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"nvidia.com/mig-1g.5gb": "1"}});
    }),
    ("shared-mig-slice", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"nvidia.com/mig-1g.5gb.shared": "1"}});
    }),
    ("device-and-claim", |pod| {
        pod["spec"]["resourceClaims"] = json!([{"name": "nic", "resourceClaimName": "x"}]);
        pod["spec"]["containers"][0]["resources"] =
            json!({"limits": {"nvidia.com/gpu": "1"}, "claims": [{"name": "nic"}]});
    }),
    ("resource-of-a-configured-prefix", |pod| {
        pod["spec"]["containers"][0]["resources"] =
            json!({"limits": {"example.com/slot-small": "1", "example.com/cards": "1"}});
    }),
    ("gpu-of-a-native-sidecar", |pod| {
        let resources = json!({"limits": {"volcano.sh/vgpu-number": "1"}});
        pod["spec"]["initContainers"] =
            json!([{"name": "streamer", "image": "s:1", "restartPolicy": "Always", "resources": resources}]);
    }),
    ("fraction-of-one-container", |pod| {
        let key = "nvidia.com/container.desktop.gpu-memory.request";
        pod["metadata"]["annotations"] = json!({key: "1Gi"});
    }),
    ("linux-node", |pod| pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "linux"})),
    ("opted-in-by-its-label", |pod| pod["metadata"]["labels"] = json!({key::INJECT: key::ENABLED})),
    ("invalid-inject-label", |pod| pod["metadata"]["labels"] = json!({key::INJECT: "unsure"})),
    ("first-profile", |pod| {
        pod["metadata"]["labels"] =
            json!({"app": "cad", "tier": "gpu", "example.com/template": "of another profile"});
        pod["metadata"]["annotations"] = json!({"example.com/user": "bob", "example.com/session": "s"});
    }),
    ("second-profile", |pod| {
        pod["metadata"]["labels"] = json!({"app": "cad", "example.com/template": "t", key::USER: "bob"});
        pod["metadata"]["annotations"] = json!({"example.com/pool": "p"});
    }),
    ("empty-label", |pod| {
        pod["metadata"]["labels"] = json!({key::SESSION: ""});
        pod["metadata"]["annotations"] = json!({key::SESSION: "from the annotation"});
    }),
    ("longest-name", |pod| pod["metadata"]["annotations"] = json!({key::SESSION: "\u{fc}".repeat(126)})),
    ("too-long-name", |pod| pod["metadata"]["annotations"] = json!({key::SESSION: "\u{fc}".repeat(127)})),
    ("large-annotation", |pod| pod["metadata"]["annotations"] = json!({key::POOL: "x".repeat(250_000)})),
    ("copied", |pod| {
        pod["metadata"]["annotations"] = json!({key::CONFIG: "0123456789abcdef"});
        pod["spec"]["initContainers"] =
            json!([{"name": "vdi-metrics", "image": "sidecar:0", "restartPolicy": "Always"}]);
    }),
    ("copied-without-container", |pod| {
        pod["metadata"]["annotations"] = json!({key::CONFIG: "0123456789abcdef"});
        pod["spec"]["volumes"] = json!([{"name": "vdi-metrics", "emptyDir": {}}]);
    }),
    ("all-ports-taken", |pod| {
        let ports: Vec<_> = (9478..9678).map(|port| json!({"containerPort": port})).collect();
        pod["spec"]["containers"][0]["ports"] = json!(ports);
    }),
    ("last-port-taken", |pod| {
        pod["metadata"]["annotations"] = json!({key::PORT: "65535"});
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 65535}]);
    }),
    ("hundred-containers", |pod| {
        let container =
            |n: u32| json!({"name": format!("c{n}"), "image": "c:1", "ports": [{"containerPort": 9478 + n}]});
        pod["spec"]["containers"] = (0..100).map(container).collect();
    }),
    // The annotations of the sidecar have 66 bytes, those for Prometheus 72 more, and the mark of a skipped pod 37.
    ("space-for-annotations", |pod| fill_annotations(pod, 66)),
    ("too-little-space-for-annotations", |pod| fill_annotations(pod, 65)),
    ("space-for-prometheus", |pod| fill_annotations(pod, 138)),
    ("too-little-space-for-prometheus", |pod| fill_annotations(pod, 137)),
    ("full-annotations", |pod| fill_annotations(pod, 0)),
    ("space-for-a-mark", |pod| {
        pod["spec"]["os"] = json!({"name": "windows"});
        fill_annotations(pod, 37);
    }),
    ("too-little-space-for-a-mark", |pod| {
        pod["spec"]["os"] = json!({"name": "windows"});
        fill_annotations(pod, 36);
    }),
    ("too-large", |pod| pod["spec"]["containers"][0]["args"] = json!(["\u{fc}".repeat(600_000)])),
    ("too-large-for-windows", |pod| {
        pod["spec"]["os"] = json!({"name": "windows"});
        pod["spec"]["containers"][0]["env"] = json!([{"name": "LARGE", "value": "x".repeat(1_100_000)}]);
    }),
    ("ports-of-every-protocol-and-name", |pod| {
        pod["spec"]["containers"][0]["ports"] = json!([
            {"containerPort": 8443, "protocol": "TCP", "name": "web"}, {"containerPort": 443},
            {"containerPort": 47998, "protocol": "UDP"}, {"containerPort": 47999, "protocol": "SCTP"},
            {"containerPort": 1, "name": "metrics"}, {"containerPort": 2, "name": "http-metrics"},
            {"containerPort": 3, "name": "http-envoy-prom"}, {"containerPort": 4, "name": "health"},
            {"containerPort": 5, "name": "healthz"}, {"containerPort": 6, "name": "metrics-ui"},
            {"containerPort": 7, "name": "web-health"}, {"containerPort": 8, "name": ""},
            {"containerPort": 9, "protocol": ""}, {"containerPort": 10, "name": null, "protocol": null},
        ]);
    }),
    ("ports-of-several-containers", |pod| {
        let container = |name: &str, ports: &[u16]| {
            let ports: Vec<_> = ports.iter().map(|port| json!({"containerPort": port})).collect();
            json!({"name": name, "image": "c:1", "ports": ports})
        };
        let mut native = container("streamer", &[5901, 80]);
        native["restartPolicy"] = json!("Always");
        pod["spec"]["initContainers"] = json!([container("home", &[22]), native]);
        pod["spec"]["containers"] = json!([container("desktop", &[5900, 80]), container("files", &[10000])]);
    }),
    ("ports-without-viewers", |pod| {
        pod["spec"]["containers"][0]["ports"] =
            json!([{"containerPort": 9090, "name": "metrics"}, {"containerPort": 5900, "protocol": "UDP"}]);
    }),
    ("most-ports", |pod| pod["spec"]["containers"][0]["ports"] = declared_ports(40)),
    ("too-many-ports", |pod| pod["spec"]["containers"][0]["ports"] = declared_ports(41)),
    // The webhook must decide the same for a pod whose ports cost the policy much.
    ("very-many-ports", |pod| pod["spec"]["containers"][0]["ports"] = declared_ports(400)),
    ("ports-with-presence-off", |pod| {
        pod["metadata"]["annotations"] = json!({key::PRESENCE: "off"});
        pod["spec"]["containers"][0]["ports"] = declared_ports(2);
    }),
    ("ports-and-presence-on-the-host-network", |pod| {
        pod["metadata"]["annotations"] = json!({key::PRESENCE: "auto"});
        pod["spec"]["hostNetwork"] = json!(true);
        pod["spec"]["containers"][0]["ports"] = declared_ports(2);
    }),
    ("invalid-port", |pod| pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 0}])),
    ("invalid-container-name", |pod| pod["spec"]["containers"][0]["name"] = json!("Not A Name")),
];

/// This many ports, in descending order.
fn declared_ports(count: u16) -> Value {
    (0..count).map(|n| json!({"containerPort": 8000 - n})).collect()
}

/// Adds an annotation, so that `free` of the bytes for annotations are left.
fn fill_annotations(pod: &mut Value, free: usize) {
    const KEY: &str = "example.com/filler";
    pod["metadata"]["annotations"] = json!({KEY: "x".repeat((256 << 10) - KEY.len() - free)});
}

/// Minimal pods, each with one annotation or one change.
pub(super) fn generated() -> Vec<NamedPod> {
    let annotated = |name: String, key: &str, value: &str| {
        let mut pod = minimal_pod(&name);
        pod["metadata"]["annotations"] = json!({key: value});
        (name, pod)
    };
    let limits = ANNOTATIONS.iter().flat_map(|(key, values)| values.iter().map(|value| (*key, *value)));
    let names = NAMES.iter().map(|name| (key::SESSION, *name));
    let annotated = limits
        .chain(names)
        .enumerate()
        .map(|(n, (key, value))| annotated(format!("annotation-{n}"), key, value));
    let changed = CHANGES.iter().map(|(name, change)| {
        let mut pod = minimal_pod(name);
        change(&mut pod);
        ((*name).to_owned(), pod)
    });
    annotated.chain(changed).collect()
}
