//! The injection without a server against the webhook: the same pods, on the same API server, under the same settings.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use kit::{
    cluster::{Bed, Cluster, Parts},
    process::Process,
    tempfile::NamedTempFile,
    tls::Certificate,
};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::{
    dry_run::{OPTED_IN, bare, control_plane, create, in_force},
    product::root,
};

tests![every_pod_becomes_what_the_webhook_makes_of_it, what_it_made_stays_as_it_is];

/// Every part of the sidecar in another way than by default.
const OTHERWISE: &str = "
sidecar:
  image: registry.example.com/sidecar@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  imagePullPolicy: Always
  imagePullSecrets: [pull-one, pull-two]
  mode: container
  port: 9600
  intervalSeconds: 30
  fixedUser: false
  resources: {requests: {cpu: 20m, memory: 30Mi}, limits: {cpu: 200m, memory: 40Mi}}
gpuAccess: runtime
scrapeAnnotations: auto
showUser: true
profiles:
  - {name: ours, matchLabels: {app: cad, tier: gpu}, session: example.com/session, user: example.com/user}
  - {name: theirs, matchLabels: {app: cad}, template: example.com/template, pool: example.com/pool}
";

async fn every_pod_becomes_what_the_webhook_makes_of_it(_: &Bed) -> Result<()> {
    let cluster = control_plane(Parts::ControlPlane).await?;
    let pods = [golden()?, odd()].concat();
    let without = created(&cluster, &pods).await?;
    for settings in settings()? {
        let config = NamedTempFile::new()?;
        fs::write(config.path(), &settings)?;
        let by_webhook = by_webhook(&cluster, config.path(), &pods).await?;
        let by_policy = by_policy(&cluster, config.path(), &pods).await?;
        for (name, by_policy) in &by_policy {
            let (without, by_webhook) = (&without[name], &by_webhook[name]);
            ensure!(by_policy == by_webhook, "{name}, {settings}: {by_policy:#}, by webhook {by_webhook:#}");
            ensure!(by_policy["kind"] == without["kind"], "{name}: {by_policy:#}, without us {without:#}");
            let own_reason = without["kind"] == "Pod" || by_policy["message"] == without["message"];
            ensure!(own_reason, "{name}: {by_policy:#}, without us {without:#}");
        }
        let injected = by_policy.values().filter(|pod| pod["metadata"]["labels"][key::INJECTED] == "true");
        ensure!(injected.count() > pods.len() / 2, "hardly anything was injected under {settings}");
    }
    Ok(())
}

/// A pod that is created from another's manifest.
async fn what_it_made_stays_as_it_is(_: &Bed) -> Result<()> {
    let cluster = control_plane(Parts::ControlPlane).await?;
    let config = NamedTempFile::new()?;
    let once = by_policy(&cluster, config.path(), &golden()?).await?;
    let injected = once.into_iter().filter(|(_, pod)| pod["metadata"]["labels"][key::INJECTED] == "true");
    let injected: Vec<_> = injected.collect();
    let twice = by_policy(&cluster, config.path(), &injected).await?;
    for (name, once) in &injected {
        ensure!(twice[name] == *once, "{name}: {:#}, before {once:#}", twice[name]);
    }
    ensure!(!injected.is_empty());
    Ok(())
}

// === both ways ===

async fn by_webhook(cluster: &Cluster, config: &Path, pods: &[Pod]) -> Result<BTreeMap<String, Value>> {
    let certificate = Certificate::for_loopback()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_vdi-metrics"));
    command.env_clear().env("KUBECONFIG", "/nonexistent").arg("serve").arg("--config").arg(config);
    command.arg("--tls-cert").arg(certificate.cert()).arg("--tls-key").arg(certificate.key());
    for listen in ["--listen", "--metrics-listen", "--health-listen"] {
        command.args([listen, "127.0.0.1:0"]);
    }
    let server = Process::spawn(&mut command);
    let line = server.logged("server=\"webhook\"");
    let address = line.split("address=").nth(1).context("no address")?.trim();
    let authority = BASE64_STANDARD.encode(fs::read(certificate.cert())?);
    let client = json!({"url": format!("https://{address}/mutate"), "caBundle": authority});

    let shipped = fs::read_to_string(root().join("webhook-config/webhook.yaml"))?;
    let mut configuration: Value = serde_saphyr::from_str(&shipped)?;
    for entry in configuration["webhooks"].as_array_mut().context("no entries")? {
        entry["clientConfig"] = client.clone();
    }
    while_applied(cluster, &configuration.to_string(), "mutatingwebhookconfigurations", pods).await
}

async fn by_policy(cluster: &Cluster, config: &Path, pods: &[Pod]) -> Result<BTreeMap<String, Value>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vdi-metrics"));
    let output = command.args(["render", "--policy", "--config"]).arg(config).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kinds = "mutatingadmissionpolicies,mutatingadmissionpolicybindings";
    while_applied(cluster, &String::from_utf8(output.stdout)?, kinds, pods).await
}

async fn while_applied(
    cluster: &Cluster,
    documents: &str,
    kinds: &str,
    pods: &[Pod],
) -> Result<BTreeMap<String, Value>> {
    let status = |pod: &Value| pod["metadata"]["annotations"][key::STATUS].is_string();
    cluster.kubectl.apply(documents)?;
    in_force(cluster, "pods are injected", |pod, _| status(pod)).await?;
    let created = created(cluster, pods).await?;
    cluster.kubectl.run(&["delete", kinds, "--all"])?;
    in_force(cluster, "pods are injected no more", |pod, _| !status(pod)).await?;
    Ok(created)
}

/// What becomes of each pod, without what differs each time.
async fn created(cluster: &Cluster, pods: &[Pod]) -> Result<BTreeMap<String, Value>> {
    let mut created = BTreeMap::new();
    for (name, pod) in pods {
        let (mut answer, _) = create(cluster, OPTED_IN, pod).await?;
        for field in ["uid", "creationTimestamp", "managedFields"] {
            answer["metadata"].as_object_mut().context("no metadata")?.remove(field);
        }
        if pod["metadata"]["generateName"].is_string() {
            answer["metadata"]["name"] = Value::Null;
        }
        let text = answer.to_string();
        let token = text.split("kube-api-access-").nth(1).and_then(|rest| rest.get(..5)).unwrap_or("none");
        created.insert(name.clone(), serde_json::from_str(&text.replace(token, "xxxxx"))?);
    }
    Ok(created)
}

// === pods and settings ===

type Pod = (String, Value);

/// The default, what the golden pods come with, and [`OTHERWISE`].
fn settings() -> Result<Vec<String>> {
    let mut settings = vec![String::new(), OTHERWISE.to_owned()];
    for (name, path) in files()? {
        if name.ends_with(".config") {
            settings.push(fs::read_to_string(path)?);
        }
    }
    Ok(settings)
}

/// Every pod that has a golden. What else there may be in a namespace, no policy knows.
fn golden() -> Result<Vec<Pod>> {
    let pods = files()?.into_iter().filter(|(name, _)| !name.contains('.'));
    pods.map(|(name, path)| Ok((name, serde_saphyr::from_str(&fs::read_to_string(path)?)?))).collect()
}

fn files() -> Result<Vec<(String, std::path::PathBuf)>> {
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

/// Names at the borders of what can be a variable.
const NAMES: [&str; 6] =
    ["", "\u{fc}", "tab\there", "del\u{7f}", "next line\u{85}", "it's \"quoted\" \\ \u{1f5a5}"];

/// Pods that differ from a bare one in one thing.
const ODD: [(&str, fn(&mut Value)); 31] = [
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
    ("pod-requests", |pod| pod["spec"]["resources"] = json!({"requests": {"cpu": "1"}})),
    ("claims-of-the-second", |pod| {
        let claims = json!({"claims": [{"name": "gpu", "request": "one"}, {"name": "other"}]});
        let second = json!({"name": "second", "image": "second:1", "resources": claims});
        pod["spec"]["containers"].as_array_mut().unwrap().push(second);
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

fn odd() -> Vec<Pod> {
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
