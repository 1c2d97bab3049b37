//! Prometheus Operator and Prometheus: the real programs, as processes next to the node.
//!
//! The operator writes Secrets and ConfigMaps for a Prometheus pod. This module writes their content to the paths that the
//! pod would have, which the private mounts of the namespaces allow. The real Prometheus reads them and reloads on every
//! change.

mod prometheus;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use tokio::task::JoinHandle;

use super::control_plane::ControlPlane;
use super::host::{Assets, SERVICE_ADDRESS, Server, killed_with_parent};

pub use prometheus::{Labels, Prometheus, Target};

/// The running operator and Prometheus.
pub(super) struct Monitoring {
    pub(super) prometheus: Prometheus,
    follower: JoinHandle<()>,
    _prometheus: Server,
    _operator: Server,
}

// === impl Monitoring ===

impl Monitoring {
    /// Starts both programs and waits until Prometheus is ready with a configuration that the operator wrote.
    pub(super) async fn start(assets: &Assets, cluster: &ControlPlane) -> Result<Self> {
        let kubectl = &cluster.kubectl;
        kubectl.run(&["apply", "--server-side", "-f", &assets.crds().to_string_lossy()])?;
        kubectl.run(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
        kubectl.apply(include_str!("monitoring/objects.yaml"))?;
        let operator = start_operator(assets, cluster)?;
        use_service_account_token(cluster).await?;
        let source = Source::new(&cluster.client);
        operator.ready(LIMIT, || source.write_files()).await?;
        let (server, prometheus) = start_prometheus(assets, cluster).await?;
        let follower = tokio::spawn(follow(source, prometheus.clone()));
        Ok(Self { prometheus, follower, _prometheus: server, _operator: operator })
    }
}

impl Drop for Monitoring {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

fn start_operator(assets: &Assets, cluster: &ControlPlane) -> Result<Server> {
    let mut command = killed_with_parent(&assets.binary("prometheus-operator"));
    command.env("KUBECONFIG", cluster.access.kubeconfig("admin"));
    command.args(["--web.listen-address=127.0.0.1:9081", "--kubelet-endpoints=false"]);
    Server::start("prometheus-operator", command, &cluster.logs())
}

async fn start_prometheus(assets: &Assets, cluster: &ControlPlane) -> Result<(Server, Prometheus)> {
    let mut command = killed_with_parent(&assets.binary("prometheus"));
    command
        .env("KUBERNETES_SERVICE_HOST", SERVICE_ADDRESS)
        .env("KUBERNETES_SERVICE_PORT", "443")
        .arg(format!("--config.file={CONFIG}"))
        .arg(format!("--storage.tsdb.path={}", cluster.dir.join("state/prometheus").display()))
        // The interval makes Prometheus scrape a new target within 1 to 2 s instead of 5 to 10 s.
        .args([
            "--web.listen-address=127.0.0.1:9090",
            "--web.enable-lifecycle",
            "--scrape.discovery-reload-interval=1s",
        ]);
    let server = Server::start("prometheus", command, &cluster.logs())?;
    let prometheus = Prometheus::at("http://127.0.0.1:9090")?;
    server.ready(LIMIT, || prometheus.readiness()).await?;
    Ok((server, prometheus))
}

/// Writes a token of Prometheus' ServiceAccount to the path where a pod has its token.
async fn use_service_account_token(cluster: &ControlPlane) -> Result<()> {
    let request = TokenRequest {
        spec: TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(cluster.client.clone(), NAMESPACE);
    let answer = accounts.create_token_request("prometheus", &PostParams::default(), &request).await?;
    let token = answer.status.context("the API server returned no token")?.token;
    fs::create_dir_all(IDENTITY)?;
    fs::write(Path::new(IDENTITY).join("token"), token)?;
    fs::write(Path::new(IDENTITY).join("namespace"), NAMESPACE)?;
    fs::copy(cluster.access.file("ca.crt"), Path::new(IDENTITY).join("ca.crt"))?;
    Ok(())
}

/// Writes changed files and makes Prometheus reload them, as long as the cluster runs. A failed reload is tried again;
/// Prometheus logs why it rejected the files.
async fn follow(source: Source, prometheus: Prometheus) {
    let mut loaded = None;
    loop {
        if let Ok(version) = source.write_files().await
            && loaded.as_ref() != Some(&version)
            && prometheus.reload().await.is_ok()
        {
            loaded = Some(version);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// The operator's objects for one Prometheus.
struct Source {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
}

// === impl Source ===

impl Source {
    fn new(client: &kube::Client) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), NAMESPACE),
            config_maps: Api::namespaced(client.clone(), NAMESPACE),
        }
    }

    /// Writes the configuration, the TLS files and the rules, and returns the versions that it has written.
    async fn write_files(&self) -> Result<BTreeMap<String, String>> {
        let secret = self.secrets.get("prometheus-main").await?;
        let zipped = secret.data.as_ref().and_then(|data| data.get("prometheus.yaml.gz"));
        let mut config = String::new();
        GzDecoder::new(zipped.context("no prometheus.yaml.gz yet")?.0.as_slice())
            .read_to_string(&mut config)?;
        // In a pod the configuration reloader replaces these variables.
        let config = config.replace("$(POD_NAME)", "prometheus-main-0").replace("$(SHARD)", "0");
        write(Path::new(CONFIG), config.as_bytes())?;
        let mut versions = BTreeMap::from([version("config", &secret.metadata)]);

        let tls = self.secrets.get("prometheus-main-tls-assets-0").await?;
        for (name, content) in tls.data.iter().flatten() {
            write(&Path::new("/etc/prometheus/certs").join(name), &content.0)?;
        }
        versions.extend([version("tls", &tls.metadata)]);

        let rules = ListParams::default().labels("prometheus-name=main");
        for map in self.config_maps.list(&rules).await?.items {
            let name = map.metadata.name.clone().unwrap_or_default();
            let folder = Path::new("/etc/prometheus/rules").join(&name);
            // Prometheus must not read a rule that no longer exists.
            let _ = fs::remove_dir_all(&folder);
            for (file, content) in map.data.iter().flatten() {
                write(&folder.join(file), content.as_bytes())?;
            }
            versions.extend([version(&name, &map.metadata)]);
        }
        Ok(versions)
    }
}

fn version(name: &str, metadata: &kube::api::ObjectMeta) -> (String, String) {
    (name.to_owned(), metadata.resource_version.clone().unwrap_or_default())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}

const NAMESPACE: &str = "monitoring";
const CONFIG: &str = "/etc/prometheus/config_out/prometheus.env.yaml";
const IDENTITY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const LIMIT: Duration = Duration::from_secs(60);
