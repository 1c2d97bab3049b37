//! The pods that webhook and policy are compared by.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::{dry_run::bare, product::root};

/// A pod by name.
pub(super) type Pod = (String, Value);

/// Every pod that has a golden. What else there may be in a namespace, no policy knows.
pub(super) fn golden() -> Result<Vec<Pod>> {
    let pods = files()?.into_iter().filter(|(name, _)| !name.contains('.'));
    pods.map(|(name, path)| Ok((name, serde_saphyr::from_str(&fs::read_to_string(path)?)?))).collect()
}

/// What is in `tests/pods`, by name.
pub(super) fn files() -> Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(root().join("tests/pods"))?.map(|entry| anyhow::Ok(entry?.path()));
    let named = entries.map(|path| {
        let path = path?;
        Ok((path.file_stem().context("no name")?.to_string_lossy().into_owned(), path))
    });
    named.collect()
}

/// Values at the borders of what an annotation may ask for.
const ASKED: [(&str, &[&str]); 7] = [
    (key::PORT, &["1023", "1024", "65535", "65536", "09000", "+9000", "-1", "9000 ", "x", ""]),
    (key::INTERVAL, &["4", "5", "300", "301", "015", "15s", ""]),
    (key::CPU, &["1m", "0", "-1", "0.5", "1n", "1k", "x", ""]),
    (key::MEMORY, &["16Mi", "15Mi", "16777215", "16777216", "1Gi", "x", ""]),
    (key::IMAGE, &["r.example.com:5000/a/b:1", "a@sha256:00", "a b", "/a", "\u{e4}", ""]),
    (key::MODE, &["native", "container", "Native", ""]),
    (key::GPU_ACCESS, &["auto", "claims", "runtime", "none", "all", ""]),
];

type Change = fn(&mut Value);

/// Names at the borders of what can be a variable.
const NAMES: [&str; 6] =
    ["", "\u{fc}", "tab\there", "del\u{7f}", "next line\u{85}", "it's \"quoted\" \\ \u{1f5a5}"];

/// Pods that differ from a bare one in one thing.
const ODD: [(&str, Change); 31] = [
    ("limits-only", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}})
    }),
    ("spelt-twice", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1000m", "memory": "1073741824"}, "limits": {"cpu": "1", "memory": "1Gi"}});
    }),
    ("half-bounded", |pod| pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}})),
    ("bounded-by-zero", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "0", "memory": "0"}});
    }),
    ("unbounded-init", |pod| {
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        pod["spec"]["initContainers"] = json!([{"name": "home", "image": "home:1"}]);
    }),
    ("pod-limits", |pod| pod["spec"]["resources"] = json!({"limits": {"cpu": "1", "memory": "1Gi"}})),
    ("claims-of-the-second", |pod| {
        let claims = json!({"claims": [{"name": "gpu", "request": "one"}, {"name": "other"}]});
        let second = json!({"name": "second", "image": "second:1", "resources": claims});
        pod["spec"]["containers"] = json!([pod["spec"]["containers"][0].take(), second]);
        pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "x"}, {"name": "other", "resourceClaimTemplateName": "y"}]);
    }),
    ("root", |pod| pod["spec"]["securityContext"] = json!({"runAsUser": 0})),
    ("ranged-root", |pod| {
        pod["spec"]["securityContext"] = json!({"runAsUser": 0});
        pod["metadata"]["annotations"] = json!({"openshift.io/scc": "anyuid"});
    }),
    ("job", |pod| pod["spec"]["restartPolicy"] = json!("Never")),
    ("with-secrets", |pod| pod["spec"]["imagePullSecrets"] = json!([{"name": "pull-one"}, {"name": "mine"}])),
    ("nameless-secret", |pod| pod["spec"]["imagePullSecrets"] = json!([{}])),
    ("scraped-otherwise", |pod| pod["metadata"]["annotations"] = json!({"PROMETHEUS_io.port": "1"})),
    ("hardly-scraped", |pod| pod["metadata"]["annotations"] = json!({"example.com/prometheus.io": "1"})),
    ("windows-node", |pod| pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"})),
    ("linux-node", |pod| pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "linux"})),
    ("by-itself", |pod| pod["metadata"]["labels"] = json!({key::INJECT: key::ENABLED})),
    ("unsure", |pod| pod["metadata"]["labels"] = json!({key::INJECT: "unsure"})),
    ("ours", |pod| {
        pod["metadata"]["labels"] = json!({"app": "cad", "tier": "gpu", "example.com/template": "not ours"});
        pod["metadata"]["annotations"] = json!({"example.com/user": "bob", "example.com/session": "s"});
    }),
    ("theirs", |pod| {
        pod["metadata"]["labels"] = json!({"app": "cad", "example.com/template": "t", key::USER: "bob"});
        pod["metadata"]["annotations"] = json!({"example.com/pool": "p"});
    }),
    ("empty-label", |pod| {
        pod["metadata"]["labels"] = json!({key::SESSION: ""});
        pod["metadata"]["annotations"] = json!({key::SESSION: "from the annotation"});
    }),
    ("longest-name", |pod| pod["metadata"]["annotations"] = json!({key::SESSION: "\u{fc}".repeat(126)})),
    ("too-long-name", |pod| pod["metadata"]["annotations"] = json!({key::SESSION: "\u{fc}".repeat(127)})),
    ("huge", |pod| pod["metadata"]["annotations"] = json!({key::POOL: "x".repeat(250_000)})),
    ("copied", |pod| {
        pod["metadata"]["annotations"] = json!({key::CONFIG: "0123456789abcdef"});
        pod["spec"]["initContainers"] =
            json!([{"name": "vdi-metrics", "image": "sidecar:0", "restartPolicy": "Always"}]);
    }),
    ("copied-in-part", |pod| {
        pod["metadata"]["annotations"] = json!({key::CONFIG: "0123456789abcdef"});
        pod["spec"]["volumes"] = json!([{"name": "vdi-metrics", "emptyDir": {}}]);
    }),
    ("every-port", |pod| {
        let ports: Vec<_> = (9478..9678).map(|port| json!({"containerPort": port})).collect();
        pod["spec"]["containers"][0]["ports"] = json!(ports);
    }),
    ("last-port-taken", |pod| {
        pod["metadata"]["annotations"] = json!({key::PORT: "65535"});
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 65535}]);
    }),
    ("many", |pod| {
        let container =
            |n: u32| json!({"name": format!("c{n}"), "image": "c:1", "ports": [{"containerPort": 9478 + n}]});
        pod["spec"]["containers"] = (0..100).map(container).collect();
    }),
    ("wrong-port", |pod| pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 0}])),
    ("wrong-name", |pod| pod["spec"]["containers"][0]["name"] = json!("Not A Name")),
];

/// Pods at the borders of what matters to us.
pub(super) fn odd() -> Vec<Pod> {
    let annotated = |name: String, key: &str, value: &str| {
        let mut pod = bare(&name);
        pod["metadata"]["annotations"] = json!({key: value});
        (name, pod)
    };
    let asked = ASKED.iter().flat_map(|(key, values)| values.iter().map(|value| (*key, *value)));
    let named = NAMES.iter().map(|name| (key::SESSION, *name));
    let annotated =
        asked.chain(named).enumerate().map(|(n, (key, value))| annotated(format!("asks-{n}"), key, value));
    let changed = ODD.iter().map(|(name, change)| {
        let mut pod = bare(name);
        change(&mut pod);
        ((*name).to_owned(), pod)
    });
    annotated.chain(changed).collect()
}
