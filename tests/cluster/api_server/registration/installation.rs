//! Replicas of the server with its own certificate, behind the shipped Service and the shipped webhook configuration. The API server
//! calls them at an address of this machine, as the EndpointSlices say.

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::Request;
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration},
    core::v1::Secret,
    discovery::v1::{Endpoint, EndpointSlice},
};
use kit::{
    cluster::{Cluster, ExternalProgram, Parts, eventually},
    http as plain_http,
};
use kube::{
    Api, Client, Config,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use vdi_metrics::{
    contract::key,
    registration::{SECRET, SERVICE},
};

use crate::support::{
    common::{MINUTE, root},
    installation::NAMESPACE,
    out_of_cluster_server::shipped_rights,
    own_control_plane::{self, OPTED_IN, dry_run, minimal_pod},
};

/// The name of the webhook configuration.
pub(super) const CONFIGURATION: &str = "vdi-metrics";

/// Timeout of a scrape.
const SCRAPE: Duration = Duration::from_secs(1);

const NAMES: [&str; 2] = ["replica-0", "replica-1"];

/// The control plane and the replicas.
pub(super) struct Installation {
    pub(super) cluster: Arc<Cluster>,
    kubeconfig: PathBuf,
    address: IpAddr,
    arguments: Vec<&'static str>,
    replicas: Arc<Mutex<[Option<Replica>; 2]>>,
    endpoints: JoinHandle<()>,
}

struct Replica {
    _program: ExternalProgram,
    webhook: SocketAddr,
    metrics: SocketAddr,
    health: SocketAddr,
    /// A client of its metrics.
    client: Client,
}

// === impl Installation ===

impl Installation {
    /// Applies the manifests. No replica runs yet.
    pub(super) async fn new(arguments: &[&'static str]) -> Result<Self> {
        let cluster = Arc::new(own_control_plane::control_plane(Parts::ControlPlane).await?);
        let kubeconfig = shipped_rights(&cluster)?;
        let configuration = root().join("webhook-config").display().to_string();
        cluster.kubectl.run(&["apply", "--kustomize", &configuration])?;
        let replicas = Arc::<Mutex<[Option<Replica>; 2]>>::default();
        let endpoints = tokio::spawn(publish(Arc::clone(&cluster), Arc::clone(&replicas)));
        let (address, arguments) = (machine_address()?, arguments.to_vec());
        Ok(Self { cluster, kubeconfig, address, arguments, replicas, endpoints })
    }

    /// Starts both replicas at the same time.
    pub(super) async fn start_both(&self) -> Result<()> {
        tokio::try_join!(self.start(0), self.start(1)).map(drop)
    }

    /// Starts a replica.
    pub(super) async fn start(&self, number: usize) -> Result<()> {
        self.start_with(number, &[]).await
    }

    /// Starts a replica with more arguments.
    pub(super) async fn start_with(&self, number: usize, more: &[String]) -> Result<()> {
        let listen = format!("{}:0", self.address);
        let program = self.cluster.start_program(
            NAMES[number],
            Path::new(env!("CARGO_BIN_EXE_vdi-metrics")),
            |command| {
                command.env("KUBECONFIG", &self.kubeconfig).arg("serve").args(&self.arguments).args(more);
                command.args(["--metrics-authentication", "none", "--lame-duck", "0"]);
                command.args(["--listen", &listen, "--metrics-listen", &listen]);
                command.args(["--health-listen", "127.0.0.1:0"]);
            },
        )?;
        let address = async |server: &str| {
            let line = format!("server=\"{server}\" address=");
            program.logged(|log| log.split(&line).nth(1)?.split_once('\n')?.0.trim().parse().ok()).await
        };
        let (webhook, metrics) = (address("webhook").await?, address("metrics").await?);
        let health = address("health").await?;
        let mut config = Config::new(format!("https://{metrics}").parse()?);
        config.accept_invalid_certs = true;
        let client = Client::try_from(config)?;
        self.lock()[number] = Some(Replica { _program: program, webhook, metrics, health, client });
        Ok(())
    }

    /// Kills a replica with SIGKILL.
    pub(super) fn kill(&self, number: usize) {
        self.lock()[number] = None;
    }

    /// The replica that leads.
    pub(super) async fn leader(&self) -> Result<usize> {
        let clients = self.lock().each_ref().map(|replica| replica.as_ref().map(|it| it.client.clone()));
        for (number, client) in clients.into_iter().enumerate() {
            let Some(client) = client else { continue };
            let request = Request::get("/metrics").body(vec![])?;
            let page = timeout(SCRAPE, client.request_text(request)).await;
            if page.is_ok_and(|page| page.is_ok_and(|page| page.contains("\nvdi_metrics_ledger_leading 1\n")))
            {
                return Ok(number);
            }
        }
        bail!("no replica leads")
    }

    /// The time until a new pod gets a sidecar.
    pub(super) async fn until_injected(&self, what: &str) -> Result<Duration> {
        let began = Instant::now();
        eventually(format!("{what}: a new pod gets a sidecar"), MINUTE, || self.is_injected()).await?;
        Ok(began.elapsed())
    }

    /// Creates a pod in a dry run. The API server must accept it. An error if it has no sidecar.
    pub(super) async fn is_injected(&self) -> Result<()> {
        let (pod, warnings) = dry_run(&self.cluster, OPTED_IN, &minimal_pod("desktop")).await?;
        assert_eq!(pod["kind"], "Pod", "the API server rejects a pod: {pod:#}");
        let status = &pod["metadata"]["annotations"][key::STATUS];
        ensure!(status == "injected", "status {status}, warnings {warnings:?}");
        Ok(())
    }

    /// The Secret with the certificate; none if there is none.
    pub(super) async fn secret(&self) -> Result<Option<Secret>> {
        Ok(self.secrets().get_opt(SECRET).await?)
    }

    /// The Secrets of the server's namespace.
    pub(super) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.cluster.client.clone(), NAMESPACE)
    }

    /// A value of the Secret.
    pub(super) async fn stored(&self, key: &str) -> Result<Vec<u8>> {
        let secret = self.secret().await?.context("no Secret")?;
        Ok(secret.data.unwrap_or_default().remove(key).with_context(|| format!("no {key}"))?.0)
    }

    /// The `caBundle` of each entry.
    pub(super) async fn bundles(&self) -> Result<Vec<Vec<u8>>> {
        let configuration = self.configurations().get(CONFIGURATION).await?;
        let bundle = |entry: MutatingWebhook| entry.client_config.ca_bundle.unwrap_or_default().0;
        Ok(configuration.webhooks.unwrap_or_default().into_iter().map(bundle).collect())
    }

    /// Replaces the `caBundle` of each entry.
    pub(super) async fn patch_bundle(&self, bundle: Option<&str>) -> Result<()> {
        let operation = |entry: usize| {
            let path = format!("/webhooks/{entry}/clientConfig/caBundle");
            match bundle {
                Some(bundle) => json!({"op": "replace", "path": path, "value": bundle}),
                None => json!({"op": "remove", "path": path}),
            }
        };
        let patch: json_patch::Patch = serde_json::from_value(json!([operation(0), operation(1)]))?;
        let patch = Patch::<()>::Json(patch);
        self.configurations().patch(CONFIGURATION, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Applies a `caBundle` with force, as a program does that owns a copy of the configuration.
    pub(super) fn apply_bundle_as_another_manager(&self, manager: &str) -> Result<()> {
        let other = rcgen::generate_simple_self_signed(["another".to_owned()])?.cert.pem();
        let bundle = BASE64_STANDARD.encode(other);
        let path = root().join("webhook-config/webhook.yaml");
        let mut configuration: Value = serde_saphyr::from_str(&fs::read_to_string(path)?)?;
        for entry in configuration["webhooks"].as_array_mut().context("no webhooks")? {
            entry["clientConfig"]["caBundle"] = json!(bundle);
        }
        let file = self.cluster.folder().join("another.json");
        fs::write(&file, configuration.to_string())?;
        let (manager, file) = (format!("--field-manager={manager}"), file.display().to_string());
        let apply = ["apply", "--server-side", "--force-conflicts", &manager, "--filename", &file];
        self.cluster.kubectl.run(&apply).map(drop)
    }

    /// The versions of the Secret and of the webhook configuration.
    pub(super) async fn written(&self) -> Result<[Option<String>; 2]> {
        let secret = self.secret().await?.and_then(|secret| secret.metadata.resource_version);
        let configuration = self.configurations().get(CONFIGURATION).await?;
        Ok([secret, configuration.metadata.resource_version])
    }

    /// Waits until both replicas are ready and their EndpointSlices say so.
    pub(super) async fn until_both_ready(&self) -> Result<()> {
        eventually("both replicas are ready", MINUTE, || async {
            let ready = self.ready_endpoints().await?;
            ensure!(ready == NAMES.len(), "{ready} are ready");
            Ok(())
        })
        .await
    }

    /// The number of ready replicas in the EndpointSlices.
    async fn ready_endpoints(&self) -> Result<usize> {
        let slices = Api::<EndpointSlice>::namespaced(self.cluster.client.clone(), NAMESPACE);
        let slices = slices.list(&ListParams::default()).await?.items;
        let endpoints = slices.into_iter().flat_map(|slice| slice.endpoints);
        let is_ready =
            |endpoint: &Endpoint| endpoint.conditions.as_ref().is_some_and(|it| it.ready == Some(true));
        Ok(endpoints.filter(is_ready).count())
    }

    fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.cluster.client.clone())
    }

    /// The sum of these series of the API server's metrics, for the product's entries.
    pub(super) async fn api_server_counts(&self, metric: &str) -> Result<f64> {
        let page = self.cluster.client.request_text(Request::get("/metrics").body(vec![])?).await?;
        let series = page.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
        let ours = series.filter(|line| line.contains(".mutate.vdi-metrics.io\""));
        ours.map(|line| Ok(line.rsplit(' ').next().context("a series without a value")?.parse::<f64>()?))
            .sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [Option<Replica>; 2]> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.endpoints.abort();
    }
}

/// Keeps an EndpointSlice for each replica, as the controller of Kubernetes does: a replica is ready as its probe says.
async fn publish(cluster: Arc<Cluster>, replicas: Arc<Mutex<[Option<Replica>; 2]>>) {
    let mut published = [None; 2];
    loop {
        sleep(Duration::from_millis(200)).await;
        let now = {
            let replicas = replicas.lock().unwrap_or_else(PoisonError::into_inner);
            replicas
                .each_ref()
                .map(|replica| replica.as_ref().map(|it| (it.webhook, it.metrics, it.is_ready())))
        };
        for (number, (now, published)) in now.into_iter().zip(&mut published).enumerate() {
            if now != *published && apply_endpoints(&cluster, number, now).is_ok() {
                *published = now;
            }
        }
    }
}

/// Writes the EndpointSlice of a replica, or deletes it.
fn apply_endpoints(
    cluster: &Cluster,
    number: usize,
    replica: Option<(SocketAddr, SocketAddr, bool)>,
) -> Result<()> {
    let name = NAMES[number];
    let Some((webhook, metrics, ready)) = replica else {
        let delete = ["delete", "endpointslice", name, "--namespace", NAMESPACE, "--ignore-not-found"];
        return cluster.kubectl.run(&delete).map(drop);
    };
    let family = if webhook.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": SERVICE}},
        "endpoints": [{"addresses": [webhook.ip()], "conditions": {"ready": ready}}],
        "ports": [{"name": "webhook", "port": webhook.port()}, {"name": "metrics", "port": metrics.port()}],
    });
    cluster.kubectl.apply(&slice.to_string()).map(drop)
}

/// An address of this machine that an EndpointSlice may have: not a loopback address.
fn machine_address() -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // Sends nothing: the kernel only chooses the address from which it would send.
    let connected = socket.connect("10.88.0.1:9").and_then(|()| socket.local_addr());
    let address = connected.context("this machine has no network address but loopback")?.ip();
    ensure!(!address.is_loopback(), "this machine has no network address but {address}");
    Ok(address)
}

// === impl Replica ===

impl Replica {
    fn is_ready(&self) -> bool {
        plain_http::get(self.health, "/readyz").is_ok_and(|answer| answer.status == 200)
    }
}
