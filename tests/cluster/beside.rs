//! The server beside a control plane: the real program with the rights it ships with, registered as it ships, only that
//! the API server calls it on loopback and not through a Service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::{Context, Result, ensure};
use axum::http::Request;
use base64::{Engine, prelude::BASE64_STANDARD};
use kit::cluster::{Bed, Beside, eventually};
use kit::exposition::Exposition;
use kit::tls::Certificate;
use kit::{answer, http};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use vdi_metrics::contract::key;

use crate::product::{MINUTE, NAMESPACE, desktop, root};

/// A server, and how it is reached.
pub(crate) struct Webhook {
    program: Beside,
    certificate: Certificate,
    webhook: SocketAddr,
    metrics: SocketAddr,
    health: SocketAddr,
    /// What it talks to the cluster with.
    pub(crate) kubeconfig: PathBuf,
}

/// What the API server said to a request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) accepted: bool,
    /// The object, or the Status that says why not.
    pub(crate) object: Value,
    /// As a client is shown them.
    pub(crate) warnings: Vec<String>,
}

static REGISTERED: Mutex<Option<Arc<Webhook>>> = Mutex::const_new(None);

/// The server that all tests share: it watches the cluster, and the API server calls it.
pub(crate) async fn registered(bed: &Bed) -> Result<Arc<Webhook>> {
    let mut registered = REGISTERED.lock().await;
    if registered.is_none() {
        *registered = Some(Arc::new(register(bed).await?));
    }
    registered.clone().context("just registered")
}

/// Ends the server, if there is one.
pub(crate) fn end() {
    REGISTERED.blocking_lock().take();
}

async fn register(bed: &Bed) -> Result<Webhook> {
    let server = root().join("manifests/server");
    bed.kubectl.run(&["apply", "--kustomize", &server.display().to_string()])?;
    let webhook = Webhook::start(bed, "vdi-metrics", &as_shipped(bed)?).await?;
    webhook.register(bed, |_| {})?;
    let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    eventually("the API server calls the webhook", MINUTE, || async {
        let answer = dry_run(bed, &namespace, &desktop(&["sleep"])).await?;
        ensure!(answer.object["metadata"]["annotations"][key::STATUS] == "injected", "{answer:?}");
        Ok(())
    })
    .await?;
    Ok(webhook)
}

/// A kubeconfig with the rights of the shipped ServiceAccount.
fn as_shipped(bed: &Bed) -> Result<PathBuf> {
    let token = bed.kubectl.run(&["create", "token", "vdi-metrics", "--namespace", NAMESPACE])?;
    kubeconfig(bed, "vdi-metrics", token.trim())
}

/// A kubeconfig of whoever has this token.
pub(crate) fn kubeconfig(bed: &Bed, name: &str, token: &str) -> Result<PathBuf> {
    let mut config: Value = serde_json::from_slice(&fs::read(bed.kubeconfig())?)?;
    config["users"][0]["user"] = json!({"token": token});
    let path = bed.folder().join(format!("{name}.kubeconfig"));
    fs::write(&path, config.to_string())?;
    Ok(path)
}

/// Creates a pod for show: everything is decided, nothing is stored.
pub(crate) async fn dry_run(bed: &Bed, namespace: &str, pod: &Value) -> Result<Answer> {
    post(bed, &format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), pod).await
}

/// Creates a pod.
pub(crate) async fn create(bed: &Bed, namespace: &str, pod: &Value) -> Result<Answer> {
    post(bed, &format!("/api/v1/namespaces/{namespace}/pods"), pod).await
}

/// Creates an object.
pub(crate) async fn post(bed: &Bed, path: &str, object: &Value) -> Result<Answer> {
    let request = Request::post(path).header("content-type", "application/json");
    Answer::to(bed, request.body(Body::from(serde_json::to_vec(object)?))?).await
}

/// The text in `299 - "TEXT"`.
fn warning(header: &str) -> String {
    let text = header.strip_prefix("299 - \"").and_then(|rest| rest.strip_suffix('"')).unwrap_or(header);
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

// === impl Answer ===

impl Answer {
    /// Sends a request and keeps all of the answer, which a typed client does not.
    pub(crate) async fn to(bed: &Bed, request: Request<Body>) -> Result<Self> {
        let response = bed.client.send(request).await?;
        let warnings = response.headers().get_all("warning");
        let warnings = warnings.iter().map(|value| Ok(warning(value.to_str()?))).collect::<Result<_>>()?;
        let accepted = response.status().is_success();
        let object = serde_json::from_slice(&response.into_body().collect_bytes().await?)?;
        Ok(Self { accepted, object, warnings })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object["message"].as_str() {
            Some(message) => write!(f, "refused: {message}"),
            None => write!(f, "accepted: {}", self.object),
        }
    }
}

// === impl Webhook ===

impl Webhook {
    /// Starts a server that talks to the cluster of this kubeconfig.
    pub(crate) async fn start(bed: &Bed, name: &'static str, kubeconfig: &Path) -> Result<Self> {
        let certificate = Certificate::in_folder(bed.folder())?;
        let program = bed.start_beside(name, Path::new(env!("CARGO_BIN_EXE_vdi-metrics")), |command| {
            command.env("KUBECONFIG", kubeconfig).arg("serve");
            command.arg("--tls-cert").arg(certificate.cert()).arg("--tls-key").arg(certificate.key());
            for listen in ["--listen", "--metrics-listen", "--health-listen"] {
                command.args([listen, "127.0.0.1:0"]);
            }
        })?;
        let address = async |server: &str| {
            let line = format!("server=\"{server}\" address=");
            program.logged(|log| log.split(&line).nth(1)?.split_once('\n')?.0.trim().parse().ok()).await
        };
        let (webhook, metrics) = (address("webhook").await?, address("metrics").await?);
        let (health, kubeconfig) = (address("health").await?, kubeconfig.to_owned());
        Ok(Self { program, certificate, webhook, metrics, health, kubeconfig })
    }

    /// Comes back as soon as it calls itself ready, because it knows what namespaces allow and not because it has waited long
    /// enough.
    pub(crate) async fn is_ready(&self) -> Result<()> {
        let began = Instant::now();
        while http::get(self.health, "/readyz")?.status != 200 {
            ensure!(began.elapsed() < MINUTE, "not ready after {:?}", began.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let gave_up = self.program.logged(|log| Some(log.contains("Ready without knowing"))).await?;
        ensure!(!gave_up, "ready after {:?}, knowing nothing", began.elapsed());
        Ok(())
    }

    /// The pod as it makes it, asked without an API server between.
    pub(crate) fn admit(&self, namespace: &str, pod: &Value) -> Result<Value> {
        let review = answer::review(pod, namespace).to_string();
        let reply = self.certificate.post(self.webhook, "/mutate", "application/json", &review)?.body;
        Ok(answer::Answer::read(reply.as_bytes(), answer::UID).patched(pod))
    }

    /// Registers it as shipped, but for its address; a second one has to `change` more.
    pub(crate) fn register(&self, bed: &Bed, change: impl FnOnce(&mut Value)) -> Result<()> {
        let path = root().join("webhook-config/webhook.yaml");
        let mut configuration: Value = serde_saphyr::from_str(&fs::read_to_string(&path)?)?;
        let client = client_config(self.webhook, "/mutate", &self.certificate)?;
        for entry in configuration["webhooks"].as_array_mut().context("no webhooks")? {
            entry["clientConfig"] = client.clone();
        }
        change(&mut configuration);
        bed.kubectl.apply(&configuration.to_string()).map(drop)
    }

    /// What it says of itself.
    pub(crate) fn exposition(&self) -> Result<Exposition> {
        let response = self.certificate.get(self.metrics, "/metrics")?;
        Exposition::parse(&response.body).map_err(anyhow::Error::msg)
    }

    /// One sample of it.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        self.exposition()?.value(name, labels).with_context(|| format!("no {name}{labels:?}"))
    }
}

/// How the API server reaches a webhook on loopback.
pub(crate) fn client_config(address: SocketAddr, path: &str, certificate: &Certificate) -> Result<Value> {
    let bundle = BASE64_STANDARD.encode(fs::read(certificate.cert())?);
    Ok(json!({"url": format!("https://{address}{path}"), "caBundle": bundle}))
}
