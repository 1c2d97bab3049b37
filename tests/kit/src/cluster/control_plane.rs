//! etcd, the API server and, if requested, the controller manager and the scheduler. They need no root.

mod access;
mod kubectl;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::host::{Assets, NODE_ADDRESS, SERVICE_ADDRESS, Server, killed_with_parent};

use access::Access;
pub use kubectl::Kubectl;

/// The running servers, in the order in which they are stopped, and an administrator's access to them.
pub(super) struct ControlPlane {
    pub(super) client: kube::Client,
    pub(super) kubectl: Kubectl,
    _controllers: Vec<Server>,
    api_server: Mutex<Option<Server>>,
    /// How the API server was started.
    launch: Launch,
    _etcd: Server,
    pub(super) access: Access,
    /// The cluster's folder.
    pub(super) dir: PathBuf,
}

/// How the API server is started.
struct Launch {
    assets: Assets,
    network: Network,
    port: u16,
    etcd: String,
}

/// The network in which the API server listens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Network {
    /// Free ports of the machine's loopback interface, so that other programs of the machine are not disturbed.
    Loopback,
    /// The network namespace of a cluster with a node: the API server has its usual port and pods can reach it.
    Isolated,
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Starts the servers and waits until the API server is ready.
    pub(super) async fn start(
        assets: &Assets,
        dir: &Path,
        network: Network,
        controllers: bool,
    ) -> Result<Self> {
        let port = network.port()?;
        let addresses = [SERVICE_ADDRESS, NODE_ADDRESS];
        let access = Access::create(&dir.join("access"), &format!("https://127.0.0.1:{port}"), &addresses)?;
        let (etcd, etcd_url) = etcd(assets, dir)?;
        let launch = Launch { assets: assets.clone(), network, port, etcd: etcd_url };
        let api_server = launch.api_server(dir, &access)?;
        let client = client(&access).await?;
        api_server.ready(LIMIT, || readyz(&client)).await?;
        let controllers = if controllers { start_controllers(assets, dir, &access)? } else { Vec::new() };
        Ok(Self {
            client,
            kubectl: Kubectl::new(assets.binary("kubectl"), access.kubeconfig("admin")),
            _controllers: controllers,
            api_server: Mutex::new(Some(api_server)),
            launch,
            _etcd: etcd,
            access,
            dir: dir.to_owned(),
        })
    }

    /// Kills the API server.
    pub(super) fn kill_api_server(&self) {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Starts the API server again after [`Self::kill_api_server`], and waits until it is ready.
    pub(super) async fn start_api_server(&self) -> Result<()> {
        let server = self.launch.api_server(&self.dir, &self.access)?;
        server.ready(LIMIT, || readyz(&self.client)).await?;
        *self.api_server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }

    /// The folder of the servers' logs.
    pub(super) fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }
}

// === impl Network ===

impl Network {
    fn port(self) -> Result<u16> {
        match self {
            Self::Loopback => free_port(),
            Self::Isolated => Ok(443),
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            // An endpoint must not be a loopback address, so the `kubernetes` Service has no endpoints.
            Self::Loopback => &["--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"],
            Self::Isolated => &["--bind-address=0.0.0.0"],
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn etcd(assets: &Assets, dir: &Path) -> Result<(Server, String)> {
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let mut command = killed_with_parent(&assets.binary("etcd"));
    command
        .arg(format!("--data-dir={}", dir.join("etcd").display()))
        .args(["--unsafe-no-fsync", "--log-level=warn"])
        .args([format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")])
        .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
        .arg(format!("--initial-cluster=default={peer}"));
    Ok((Server::start("etcd", command, &dir.join("log"))?, url))
}

// === impl Launch ===

impl Launch {
    fn api_server(&self, dir: &Path, access: &Access) -> Result<Server> {
        let Self { assets, network, port, etcd } = self;
        let file = |name| access.file(name).display().to_string();
        std::fs::write(dir.join("audit-policy.json"), AUDIT_POLICY)?;
        let mut command = killed_with_parent(&assets.binary("kube-apiserver"));
        command.args(API_SERVER_FLAGS).args(network.flags()).args([
            format!("--secure-port={port}"),
            format!("--advertise-address={NODE_ADDRESS}"),
            format!("--etcd-servers={etcd}"),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--token-auth-file={}", file("tokens.csv")),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
            format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
            format!("--kubelet-client-key={}", file("kubelet-client.key")),
            format!("--admission-control-config-file={}", file("admission.json")),
            format!("--audit-policy-file={}", dir.join("audit-policy.json").display()),
            format!("--audit-log-path={}", dir.join("audit.log").display()),
            format!("--cert-dir={}", dir.join("apiserver").display()),
        ]);
        Server::start("kube-apiserver", command, &dir.join("log"))
    }
}

async fn client(access: &Access) -> Result<kube::Client> {
    let kubeconfig: Kubeconfig = serde_json::from_value(access.kubeconfig_of("admin"))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

async fn readyz(client: &kube::Client) -> Result<()> {
    let request = http::Request::get("/readyz").body(Vec::new())?;
    client.request_text(request).await.map(drop).context("/readyz")
}

fn start_controllers(assets: &Assets, dir: &Path, access: &Access) -> Result<Vec<Server>> {
    let start = |name: &'static str, user: &str, flags: &[String]| {
        let mut command: Command = killed_with_parent(&assets.binary(name));
        command.arg(format!("--kubeconfig={}", access.kubeconfig(user).display()));
        // Neither server opens a port, because no client calls them.
        command.args(["--leader-elect=false", "--secure-port=0"]).args(flags);
        Server::start(name, command, &dir.join("log"))
    };
    let manager = [
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", access.file("accounts.key").display()),
        format!("--root-ca-file={}", access.file("ca.crt").display()),
    ];
    Ok(vec![
        start("kube-scheduler", "scheduler", &[])?,
        start("kube-controller-manager", "controller-manager", &manager)?,
    ])
}

const API_SERVER_FLAGS: &[&str] = &[
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--service-account-issuer=https://kubernetes.default.svc",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--allow-privileged=true",
    // There is no kube-proxy, so the API server calls a webhook's Service at the addresses of its EndpointSlices.
    "--enable-aggregator-routing=true",
    "--kubelet-preferred-address-types=InternalIP",
    "--profiling=false",
];

/// Records every pod creation with its annotations. There the API server reports the effect of each webhook.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
"rules": [{"level": "Metadata", "verbs": ["create"], "resources": [{"group": "", "resources": ["pods"]}]}, {"level": "None"}]}"#;

/// The API server is ready after 1.5 s on an idle machine. Two cores may have to run several clusters and a compiler.
const LIMIT: Duration = Duration::from_secs(60);
