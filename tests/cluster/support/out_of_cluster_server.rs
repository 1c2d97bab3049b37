//! The server outside the cluster: the real program, with the shipped rights and the shipped webhook registration. The only
//! difference is that the API server calls it at a loopback address and not through a Service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::{Context, Result, ensure};
use axum::http::Request;
use base64::{Engine, prelude::BASE64_STANDARD};
use kit::answer;
use kit::cluster::{Cluster, ExternalProgram, TestCluster, eventually};
use kit::exposition::Exposition;
use kit::http::{self, Response};
use kit::tls::Certificate;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use vdi_metrics::contract::key;

use super::common::{MINUTE, root};
use super::desktops::desktop;
use super::installation::NAMESPACE;

/// A running server and its addresses.
pub(crate) struct WebhookServer {
    program: ExternalProgram,
    certificate: Arc<Certificate>,
    webhook: SocketAddr,
    metrics: SocketAddr,
    health: SocketAddr,
    /// The server's credentials for the cluster.
    pub(crate) kubeconfig: PathBuf,
}

/// The API server's response to a request.
#[derive(Debug, Clone)]
pub(crate) struct ApiResponse {
    pub(crate) accepted: bool,
    /// The object, or the Status with the reason of the rejection.
    pub(crate) object: Value,
    /// The warnings as a client shows them.
    pub(crate) warnings: Vec<String>,
}

static REGISTERED: Mutex<Option<Arc<WebhookServer>>> = Mutex::const_new(None);

/// The server that all tests share. It watches the cluster, and the API server calls it.
pub(crate) async fn registered(cluster: &TestCluster) -> Result<Arc<WebhookServer>> {
    let mut registered = REGISTERED.lock().await;
    if registered.is_none() {
        *registered = Some(Arc::new(register(cluster).await?));
    }
    registered.clone().context("just registered")
}

/// Stops the shared server, if it runs.
pub(crate) fn stop() {
    REGISTERED.blocking_lock().take();
}

async fn register(cluster: &TestCluster) -> Result<WebhookServer> {
    let server = WebhookServer::start(cluster, "vdi-metrics", &shipped_rights(cluster)?).await?;
    server.register(cluster, |_| {})?;
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    eventually("the API server calls the webhook", MINUTE, || async {
        let answer = dry_run(cluster, &namespace, &desktop(&["sleep"])).await?;
        ensure!(answer.object["metadata"]["annotations"][key::STATUS] == "injected", "{answer:?}");
        Ok(())
    })
    .await?;
    Ok(server)
}

/// Applies the server's manifests, and returns a kubeconfig with the rights of the shipped ServiceAccount.
pub(crate) fn shipped_rights(cluster: &Cluster) -> Result<PathBuf> {
    let manifests = root().join("manifests/server");
    cluster.kubectl.run(&["apply", "--kustomize", &manifests.display().to_string()])?;
    let token = cluster.kubectl.run(&["create", "token", "vdi-metrics", "--namespace", NAMESPACE])?;
    kubeconfig(cluster, "vdi-metrics", token.trim())
}

/// A kubeconfig with this token, and with the namespace of the server.
pub(crate) fn kubeconfig(cluster: &Cluster, name: &str, token: &str) -> Result<PathBuf> {
    let mut config: Value = serde_json::from_slice(&fs::read(cluster.kubeconfig())?)?;
    config["users"][0]["user"] = json!({"token": token});
    config["contexts"][0]["context"]["namespace"] = json!(NAMESPACE);
    let path = cluster.folder().join(format!("{name}.kubeconfig"));
    fs::write(&path, config.to_string())?;
    Ok(path)
}

/// Creates a pod in a dry run: admission runs completely, but nothing is stored.
pub(crate) async fn dry_run(cluster: &TestCluster, namespace: &str, pod: &Value) -> Result<ApiResponse> {
    post(cluster, &format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), pod).await
}

/// Creates a pod.
pub(crate) async fn create(cluster: &TestCluster, namespace: &str, pod: &Value) -> Result<ApiResponse> {
    post(cluster, &format!("/api/v1/namespaces/{namespace}/pods"), pod).await
}

/// Creates an object.
pub(crate) async fn post(cluster: &TestCluster, path: &str, object: &Value) -> Result<ApiResponse> {
    let request = Request::post(path).header("content-type", "application/json");
    ApiResponse::to(cluster, request.body(Body::from(serde_json::to_vec(object)?))?).await
}

/// The text in `299 - "TEXT"`.
fn warning(header: &str) -> String {
    let text = header.strip_prefix("299 - \"").and_then(|rest| rest.strip_suffix('"')).unwrap_or(header);
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

// === impl ApiResponse ===

impl ApiResponse {
    /// Sends a request and keeps the status, the warnings and the body. A typed client drops the warnings.
    pub(crate) async fn to(cluster: &TestCluster, request: Request<Body>) -> Result<Self> {
        let response = cluster.client.send(request).await?;
        let warnings = response.headers().get_all("warning");
        let warnings = warnings.iter().map(|value| Ok(warning(value.to_str()?))).collect::<Result<_>>()?;
        let accepted = response.status().is_success();
        let object = serde_json::from_slice(&response.into_body().collect_bytes().await?)?;
        Ok(Self { accepted, object, warnings })
    }
}

impl fmt::Display for ApiResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object["message"].as_str() {
            Some(message) => write!(f, "rejected: {message}"),
            None => write!(f, "accepted: {}", self.object),
        }
    }
}

// === impl WebhookServer ===

impl WebhookServer {
    /// Starts a server with this kubeconfig. Every client may read its metrics.
    pub(crate) async fn start(cluster: &Cluster, name: &'static str, kubeconfig: &Path) -> Result<Self> {
        Self::start_with(cluster, name, kubeconfig, &["--metrics-authentication", "none"]).await
    }

    /// Starts a server with this kubeconfig and these arguments.
    pub(crate) async fn start_with(
        cluster: &Cluster,
        name: &'static str,
        kubeconfig: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let certificate = Arc::new(Certificate::in_folder(cluster.folder())?);
        Self::start_as(cluster, name, kubeconfig, arguments, certificate).await
    }

    /// Starts another replica of this server. It has the same certificate, because the configuration must trust it.
    pub(crate) async fn start_replica(&self, cluster: &Cluster, name: &'static str) -> Result<Self> {
        let arguments = ["--metrics-authentication", "none"];
        Self::start_as(cluster, name, &self.kubeconfig, &arguments, Arc::clone(&self.certificate)).await
    }

    async fn start_as(
        cluster: &Cluster,
        name: &'static str,
        kubeconfig: &Path,
        arguments: &[&str],
        certificate: Arc<Certificate>,
    ) -> Result<Self> {
        let program =
            cluster.start_program(name, Path::new(env!("CARGO_BIN_EXE_vdi-metrics")), |command| {
                command.env("KUBECONFIG", kubeconfig).arg("serve").args(arguments);
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

    /// Waits until the server is ready. It must be ready because it has read the namespaces' limits, not because its timeout
    /// for reading them has passed.
    pub(crate) async fn wait_until_ready(&self) -> Result<()> {
        let began = Instant::now();
        while http::get(self.health, "/readyz")?.status != 200 {
            ensure!(began.elapsed() < MINUTE, "not ready after {:?}", began.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let timed_out = self.program.logged(|log| Some(log.contains("Ready without LimitRanges"))).await?;
        ensure!(!timed_out, "ready after {:?}, but without the namespaces' limits", began.elapsed());
        Ok(())
    }

    /// The pod as the server changes it. The request goes to the server directly and not through an API server.
    pub(crate) fn admit(&self, namespace: &str, pod: &Value) -> Result<Value> {
        let review = answer::review(pod, namespace).to_string();
        let reply = self.certificate.post(self.webhook, "/mutate", "application/json", &review)?.body;
        Ok(answer::Answer::read(reply.as_bytes(), answer::UID).patched(pod))
    }

    /// Registers the server with the shipped configuration and its own address. A second server needs further changes, which
    /// `change` makes.
    pub(crate) fn register(&self, cluster: &Cluster, change: impl FnOnce(&mut Value)) -> Result<()> {
        let path = root().join("webhook-config/webhook.yaml");
        let mut configuration: Value = serde_saphyr::from_str(&fs::read_to_string(&path)?)?;
        let client = client_config(self.webhook, "/mutate", &self.certificate)?;
        for entry in configuration["webhooks"].as_array_mut().context("no webhooks")? {
            entry["clientConfig"] = client.clone();
        }
        change(&mut configuration);
        cluster.kubectl.apply(&configuration.to_string()).map(drop)
    }

    /// The response to a request for the metrics with this token.
    pub(crate) fn scrape(&self, token: Option<&str>) -> Result<Response> {
        let value = token.map(|token| format!("Bearer {token}"));
        let header = value.as_deref().map(|value| ("authorization", value));
        Ok(self.certificate.request(self.metrics, "GET", "/metrics", header.as_slice())?)
    }

    /// The server's own metrics.
    pub(crate) fn exposition(&self) -> Result<Exposition> {
        let response = self.certificate.get(self.metrics, "/metrics")?;
        Exposition::parse(&response.body).map_err(anyhow::Error::msg)
    }

    /// The value of one of the server's series.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        self.exposition()?.value(name, labels).with_context(|| format!("no {name}{labels:?}"))
    }
}

/// The `clientConfig` of a webhook on loopback.
pub(crate) fn client_config(address: SocketAddr, path: &str, certificate: &Certificate) -> Result<Value> {
    let bundle = BASE64_STANDARD.encode(fs::read(certificate.cert())?);
    Ok(json!({"url": format!("https://{address}{path}"), "caBundle": bundle}))
}
