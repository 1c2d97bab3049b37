//! etcd, API server and, where asked for, controller manager and scheduler. Needs no root.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::access::Access;
use super::assets::Assets;
use super::namespaces::{NODE_ADDRESS, SERVICE_ADDRESS};
use super::process::{Server, bound_to_us};

/// The running servers, in the order in which they end.
pub(super) struct ControlPlane {
    _controllers: Vec<Server>,
    _api_server: Server,
    _etcd: Server,
}

/// Where the API server listens and what it says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Free ports on loopback, beside whatever else runs on this machine.
    Loopback,
    /// The network namespace of a bed with a node: the well-known port, reachable by pods.
    Isolated,
}

impl ControlPlane {
    /// Starts the servers; the client is an administrator's and the API server is ready.
    pub(super) async fn start(
        assets: &Assets,
        dir: &Path,
        place: Place,
        controllers: bool,
    ) -> Result<(Self, Access, kube::Client)> {
        let port = place.port()?;
        let addresses = [SERVICE_ADDRESS, NODE_ADDRESS];
        let access = Access::create(&dir.join("access"), &format!("https://127.0.0.1:{port}"), &addresses)?;
        let (etcd, etcd_url) = etcd(assets, dir)?;
        let api_server = api_server(assets, dir, &access, place, port, &etcd_url)?;
        let client = client(&access).await?;
        api_server.ready(LIMIT, || readyz(&client)).await?;
        let _controllers = if controllers { start_controllers(assets, dir, &access)? } else { Vec::new() };
        Ok((Self { _controllers, _api_server: api_server, _etcd: etcd }, access, client))
    }
}

impl Place {
    fn port(self) -> Result<u16> {
        match self {
            Self::Loopback => free_port(),
            Self::Isolated => Ok(443),
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            // No endpoint may be a loopback address, so the `kubernetes` Service goes without.
            Self::Loopback => &["--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"],
            Self::Isolated => &["--bind-address=0.0.0.0"],
        }
    }
}

/// A port nobody listened on a moment ago.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn etcd(assets: &Assets, dir: &Path) -> Result<(Server, String)> {
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let mut command = bound_to_us(&assets.binary("etcd"));
    command
        .arg(format!("--data-dir={}", dir.join("etcd").display()))
        .args(["--unsafe-no-fsync", "--log-level=warn"])
        .args([format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")])
        .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
        .arg(format!("--initial-cluster=default={peer}"));
    Ok((Server::start("etcd", command, &dir.join("log"))?, url))
}

fn api_server(
    assets: &Assets,
    dir: &Path,
    access: &Access,
    place: Place,
    port: u16,
    etcd: &str,
) -> Result<Server> {
    let file = |name| access.file(name).display().to_string();
    std::fs::write(dir.join("audit-policy.json"), AUDIT_POLICY)?;
    let mut command = bound_to_us(&assets.binary("kube-apiserver"));
    command.args(API_SERVER_FLAGS).args(place.flags()).args([
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
        format!("--audit-policy-file={}", dir.join("audit-policy.json").display()),
        format!("--audit-log-path={}", dir.join("audit.log").display()),
        format!("--cert-dir={}", dir.join("apiserver").display()),
    ]);
    Server::start("kube-apiserver", command, &dir.join("log"))
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
        let mut command: Command = bound_to_us(&assets.binary(name));
        command.arg(format!("--kubeconfig={}", access.kubeconfig(user).display()));
        // No port of their own: nothing asks them anything.
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
    // Without kube-proxy a webhook's Service is called by the addresses of its EndpointSlices.
    "--enable-aggregator-routing=true",
    "--kubelet-preferred-address-types=InternalIP",
    "--profiling=false",
];

/// Pod creations are recorded with their annotations, where the API server says what each webhook did.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
"rules": [{"level": "Metadata", "verbs": ["create"], "resources": [{"group": "", "resources": ["pods"]}]}, {"level": "None"}]}"#;

/// Ready 1.5 s after its start on an idle machine; two cores may have several beds and a compiler to carry.
const LIMIT: Duration = Duration::from_secs(60);
