//! The MutatingAdmissionPolicy compared with the webhook: the same pods on the same API server with the same settings.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use kit::{
    cluster::{Cluster, Parts, TestCluster},
    process::Process,
    tempfile::NamedTempFile,
    tls::Certificate,
};
use serde_json::{Value, json};
use vdi_metrics::{admission::quantity::Quantity, contract::key};

use crate::support::{
    common::root,
    own_control_plane::{OPTED_IN, control_plane, dry_run, wait_until},
};

mod pods;

use pods::{NamedPod, files, generated, golden};

tests![the_policy_changes_every_pod_as_the_webhook_does, an_injected_pod_is_not_changed_again];

/// A configuration in which no setting of the sidecar has its default.
const NOTHING_DEFAULT: &str = "
sidecar:
  image: registry.example.com/sidecar@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  architectures: [arm64]
  imagePullPolicy: Always
  imagePullSecrets: [pull-one, pull-two]
  mode: container
  port: 9600
  intervalSeconds: 30
  fixedUser: false
  resources: {requests: {cpu: 20m, memory: 30Mi}, limits: {cpu: 200m, memory: 40Mi}}
gpuAccess: runtime
presence: off
gpuResources: {device: [example.com/card], part: [example.com/slot-*]}
scrapeAnnotations: auto
showUser: true
profiles:
  - {name: first, matchLabels: {app: cad, tier: gpu}, session: example.com/session, user: example.com/user}
  - {name: second, matchLabels: {app: cad}, template: example.com/template, pool: example.com/pool}
";

async fn the_policy_changes_every_pod_as_the_webhook_does(_: &TestCluster) -> Result<()> {
    let cluster = control_plane(Parts::ControlPlane).await?;
    let pods = [golden()?, generated()].concat();
    let without = create_all(&cluster, &pods).await?;
    for settings in settings()? {
        let config = NamedTempFile::new()?;
        fs::write(config.path(), &settings)?;
        let by_webhook = by_webhook(&cluster, config.path(), &pods).await?;
        let by_policy = by_policy(&cluster, config.path(), &pods).await?;
        for (name, by_policy) in &by_policy {
            let (without, by_webhook) = (&without[name], &by_webhook[name]);
            ensure!(
                by_policy == by_webhook,
                "{name}, {settings}: policy {by_policy:#}, webhook {by_webhook:#}"
            );
            ensure!(
                by_policy["kind"] == without["kind"],
                "{name}: policy {by_policy:#}, without injection {without:#}"
            );
            let same_reason = without["kind"] == "Pod" || by_policy["message"] == without["message"];
            ensure!(same_reason, "{name}: policy {by_policy:#}, without injection {without:#}");
        }
        let injected = by_policy.values().filter(|pod| pod["metadata"]["labels"][key::INJECTED] == "true");
        ensure!(
            injected.count() > pods.len() / 2,
            "less than half of the pods were injected with {settings}"
        );
    }
    Ok(())
}

/// A pod that is created from the manifest of an injected pod.
async fn an_injected_pod_is_not_changed_again(_: &TestCluster) -> Result<()> {
    let cluster = control_plane(Parts::ControlPlane).await?;
    let config = NamedTempFile::new()?;
    let once = by_policy(&cluster, config.path(), &golden()?).await?;
    let injected = once.into_iter().filter(|(_, pod)| pod["metadata"]["labels"][key::INJECTED] == "true");
    let injected: Vec<_> = injected.collect();
    let twice = by_policy(&cluster, config.path(), &injected).await?;
    for (name, once) in &injected {
        ensure!(twice[name] == *once, "{name}: second time {:#}, first time {once:#}", twice[name]);
    }
    ensure!(!injected.is_empty(), "no pod was injected");
    Ok(())
}

/// The default configuration, the configurations of the golden pods, and [`NOTHING_DEFAULT`].
fn settings() -> Result<Vec<String>> {
    let mut settings = vec![String::new(), NOTHING_DEFAULT.to_owned()];
    for (name, path) in files()? {
        if name.ends_with(".config") {
            settings.push(fs::read_to_string(path)?);
        }
    }
    Ok(settings)
}

// === webhook and policy ===

async fn by_webhook(cluster: &Cluster, config: &Path, pods: &[NamedPod]) -> Result<BTreeMap<String, Value>> {
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

async fn by_policy(cluster: &Cluster, config: &Path, pods: &[NamedPod]) -> Result<BTreeMap<String, Value>> {
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
    pods: &[NamedPod],
) -> Result<BTreeMap<String, Value>> {
    let has_status = |pod: &Value| pod["metadata"]["annotations"][key::STATUS].is_string();
    cluster.kubectl.apply(documents)?;
    wait_until(cluster, "pods are injected", |pod, _| has_status(pod)).await?;
    let created = create_all(cluster, pods).await?;
    cluster.kubectl.run(&["delete", kinds, "--all"])?;
    wait_until(cluster, "pods are no longer injected", |pod, _| !has_status(pod)).await?;
    Ok(created)
}

/// The API server's response for each pod, without the fields that differ in every response.
async fn create_all(cluster: &Cluster, pods: &[NamedPod]) -> Result<BTreeMap<String, Value>> {
    let mut created = BTreeMap::new();
    for (name, pod) in pods {
        let (mut answer, _) = dry_run(cluster, OPTED_IN, pod).await?;
        for field in ["uid", "creationTimestamp", "managedFields"] {
            answer["metadata"].as_object_mut().context("no metadata")?.remove(field);
        }
        if pod["metadata"]["generateName"].is_string() {
            answer["metadata"]["name"] = Value::Null;
        }
        ["containers", "initContainers"]
            .iter()
            .for_each(|list| normalize_quantities(&mut answer["spec"][list]));
        let text = answer.to_string();
        let token = text.split("kube-api-access-").nth(1).and_then(|rest| rest.get(..5)).unwrap_or("none");
        created.insert(name.clone(), serde_json::from_str(&text.replace(token, "xxxxx"))?);
    }
    Ok(created)
}

/// The policy copies a quantity from an annotation as it is written there, and the webhook writes it in the canonical form.
fn normalize_quantities(containers: &mut Value) {
    for container in containers.as_array_mut().into_iter().flatten() {
        let amounts = container["resources"].as_object_mut().into_iter().flat_map(|kinds| kinds.values_mut());
        for amount in amounts.filter_map(Value::as_object_mut).flat_map(|amounts| amounts.values_mut()) {
            if let Some(quantity) = amount.as_str().and_then(Quantity::parse) {
                *amount = json!(quantity.to_string());
            }
        }
    }
}
