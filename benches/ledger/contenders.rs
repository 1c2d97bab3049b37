//! The programs that are compared: the released server, a reflector of kube-rs with its typed pods, and kube-state-metrics.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    pin::pin,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::{process::Process, tempfile::TempDir, tls::Certificate};
use kube::{
    Api, Client, Config,
    runtime::{WatchStreamExt, reflector, watcher},
};
use serde_json::json;

use crate::servers::product;

/// The argument with which this program is a reflector.
const REFLECTOR: &str = "--reflector=";

/// A program is idle if it uses less than this share of a core during [`PAUSE`].
const IDLE: f64 = 0.05;
const PAUSE: Duration = Duration::from_secs(3);

/// Maximum time until a program is idle.
const LIMIT: Duration = Duration::from_secs(600);

/// A running program.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    process: Process,
    _files: TempDir,
}

/// Builds kube-state-metrics. `make images` builds the product.
pub(crate) fn build() -> Result<()> {
    ensure!(product().exists(), "{} is missing: run `make images`", product().display());
    let mut command = Command::new("go");
    command.arg("-C").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/kube-state-metrics"));
    command.args(["build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o"]).arg(kube_state_metrics());
    let status = command.arg("k8s.io/kube-state-metrics/v2").status().context("running go")?;
    ensure!(status.success(), "go build: {status}");
    Ok(())
}

/// Runs as a reflector if the arguments say so. It ends only with the process.
pub(crate) fn reflect() -> Option<Result<()>> {
    let url = env::args().find_map(|argument| Some(argument.strip_prefix(REFLECTOR)?.to_owned()))?;
    Some(tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| runtime.block_on(run(&url))))
}

/// The reflector of kube's documentation, with the selector of session pods.
async fn run(url: &str) -> Result<()> {
    let client = Client::try_from(Config::new(url.parse()?))?;
    let pods = Api::<Pod>::all(client);
    let selector = watcher::Config::default().labels("vdi-metrics.io/injected=true");
    let (_reader, writer) = reflector::store();
    let mut events = pin!(reflector(writer, watcher(pods, selector)).default_backoff());
    while let Some(event) = futures_util::StreamExt::next(&mut events).await {
        drop(event);
    }
    Ok(())
}

/// Starts all programs. They watch the API server at this address.
pub(crate) fn start(api_server: SocketAddr) -> Result<[Contender; 3]> {
    let url = format!("http://{api_server}");
    let mut reflector = Command::new(env::current_exe()?);
    reflector.arg(format!("{REFLECTOR}{url}"));
    let mut metrics = Command::new(kube_state_metrics());
    metrics.args(["--resources=pods", "--host=127.0.0.1", "--telemetry-host=127.0.0.1"]);
    metrics.arg(format!("--apiserver={url}")).arg(format!("--port={}", free_port()?));
    metrics.arg(format!("--telemetry-port={}", free_port()?));
    Ok([
        server(&url)?,
        Contender {
            name: "kube-rs reflector",
            process: Process::spawn(&mut reflector),
            _files: TempDir::new()?,
        },
        Contender {
            name: "kube-state-metrics",
            process: Process::spawn(&mut metrics),
            _files: TempDir::new()?,
        },
    ])
}

fn server(url: &str) -> Result<Contender> {
    let (certificate, files) = (Certificate::for_loopback()?, TempDir::new()?);
    let kubeconfig = files.path().join("kubeconfig");
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": url}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "vdi-metrics"}}],
        "users": [{"name": "fake", "user": {}}]});
    fs::write(&kubeconfig, config.to_string())?;
    let (cert, key) = (files.path().join("tls.crt"), files.path().join("tls.key"));
    fs::copy(certificate.cert(), &cert)?;
    fs::copy(certificate.key(), &key)?;
    let mut command = Command::new(product());
    command.env_clear().env("KUBECONFIG", kubeconfig).args(["serve", "--metrics-authentication", "none"]);
    for listen in ["--listen", "--metrics-listen", "--health-listen"] {
        command.args([listen, "127.0.0.1:0"]);
    }
    command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
    Ok(Contender { name: "vdi-metrics", process: Process::spawn(&mut command), _files: files })
}

fn kube_state_metrics() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peer/kube-state-metrics")
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until no program does anything any more.
pub(crate) fn wait_until_idle(contenders: &[Contender]) -> Result<()> {
    let start = Instant::now();
    loop {
        let before = cpu_seconds(contenders)?;
        thread::sleep(PAUSE);
        let used = cpu_seconds(contenders)?.into_iter().zip(before).map(|(after, before)| after - before);
        if used.fold(0.0, f64::max) < IDLE * PAUSE.as_secs_f64() {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "a program is not idle after {LIMIT:?}");
    }
}

/// CPU time of each program.
pub(crate) fn cpu_seconds(contenders: &[Contender]) -> Result<Vec<f64>> {
    contenders
        .iter()
        .map(|contender| Ok(contender.process.cpu_us().with_context(|| contender.failure())? / 1e6))
        .collect()
}

// === impl Contender ===

impl Contender {
    /// A size from `/proc/PID/status`, in MiB.
    pub(crate) fn memory(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = value.with_context(|| self.failure())?;
        Ok(value.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// Text for a program that has ended.
    fn failure(&self) -> String {
        format!("{} has ended: {}", self.name, self.process.log())
    }
}
