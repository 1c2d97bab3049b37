//! The replicas of the server: the real program, with the shipped rights, at fixed addresses.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Error, Result, ensure};
use http::Request;
use kit::{
    cluster::{Cluster, ExternalProgram, eventually},
    exposition::Exposition,
    tls::Certificate,
};
use kube::{Client, Config};
use tokio::time::timeout;

use crate::support::{common::MINUTE, out_of_cluster_server::shipped_rights, processes::NodeProcess};

/// The replicas of a server. A replica has a number.
pub(super) struct Replicas {
    pub(super) cluster: Arc<Cluster>,
    certificate: Certificate,
    kubeconfig: PathBuf,
    replicas: Vec<Replica>,
}

struct Replica {
    name: &'static str,
    /// Address of the metrics.
    metrics: SocketAddr,
    client: Client,
    program: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    program: Option<ExternalProgram>,
    /// How often the replica was started.
    starts: u32,
}

const NAMES: [&str; 3] = ["replica-0", "replica-1", "replica-2"];

/// A family that only the leader exposes, with series from the first save on.
const OF_LEADER: &str = "vdi_session_ended_total";

/// Timeout of a scrape.
const SCRAPE: Duration = Duration::from_millis(900);

// === impl Replicas ===

impl Replicas {
    /// Starts the replicas and waits until one of them leads.
    pub(super) async fn start(cluster: Arc<Cluster>) -> Result<Self> {
        let kubeconfig = shipped_rights(&cluster)?;
        let certificate = Certificate::in_folder(cluster.folder())?;
        let replicas = NAMES.iter().map(|name| Replica::new(name)).collect::<Result<_>>()?;
        let this = Self { cluster, certificate, kubeconfig, replicas };
        for number in 0..this.replicas.len() {
            this.start_one(number)?;
        }
        eventually("a replica leads", MINUTE, || async {
            let scrapes = this.leading().await;
            ensure!(scrapes == 1, "{scrapes} replicas lead");
            Ok(())
        })
        .await?;
        Ok(this)
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(|replica| replica.metrics).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.replicas.len()
    }

    /// Starts a replica.
    pub(super) fn start_one(&self, number: usize) -> Result<()> {
        let replica = &self.replicas[number];
        let mut running = replica.lock();
        running.starts += 1;
        self.keep_log(replica.name, running.starts)?;
        let program = Path::new(env!("CARGO_BIN_EXE_vdi-metrics"));
        let started = self.cluster.start_program(replica.name, program, |command| {
            command.env("KUBECONFIG", &self.kubeconfig).arg("serve");
            command
                .arg("--tls-cert")
                .arg(self.certificate.cert())
                .arg("--tls-key")
                .arg(self.certificate.key());
            command.args(["--metrics-authentication", "none", "--lame-duck", "0"]);
            command.args(["--metrics-listen", &replica.metrics.to_string()]);
            for listen in ["--listen", "--health-listen"] {
                command.args([listen, "127.0.0.1:0"]);
            }
        })?;
        running.program = Some(started);
        Ok(())
    }

    /// Kills a replica with SIGKILL.
    pub(super) fn kill(&self, number: usize) {
        self.replicas[number].lock().program.take();
    }

    /// Sends SIGTERM to a replica, and returns the process.
    pub(super) fn terminate(&self, number: usize) -> Result<ExternalProgram> {
        let program = self.replicas[number].lock().program.take().context("the replica does not run")?;
        NodeProcess::with_id(program.id()).signal("TERM")?;
        Ok(program)
    }

    /// The process of a replica.
    pub(super) fn process(&self, number: usize) -> Result<NodeProcess> {
        let running = self.replicas[number].lock();
        Ok(NodeProcess::with_id(running.program.as_ref().context("the replica does not run")?.id()))
    }

    /// The metrics of a replica. An error if the replica does not answer in time.
    pub(super) async fn scrape(&self, number: usize) -> Result<Exposition> {
        let request = Request::get("/metrics").body(vec![])?;
        let page = timeout(SCRAPE, self.replicas[number].client.request_text(request)).await??;
        Exposition::parse(&page).map_err(Error::msg)
    }

    /// The replica that exposes the metrics of the sessions, and its metrics.
    pub(super) async fn leader(&self) -> Result<(usize, Exposition)> {
        for number in 0..self.replicas.len() {
            if let Ok(metrics) = self.scrape(number).await
                && leads(&metrics)
            {
                return Ok((number, metrics));
            }
        }
        Err(Error::msg("no replica leads"))
    }

    /// The logs of all processes, for a run that failed.
    pub(super) fn logs(&self) -> String {
        let logs = fs::read_dir(self.cluster.folder().join("log")).into_iter().flatten().flatten();
        let mut paths: Vec<_> = logs.map(|log| log.path()).collect();
        paths.retain(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("replica-"))
        });
        let mut lines: Vec<_> = paths
            .iter()
            .flat_map(|path| {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let log = fs::read_to_string(path).unwrap_or_default();
                log.lines().map(|line| format!("{line} [{name}]")).collect::<Vec<_>>()
            })
            .collect();
        lines.sort();
        lines.join("\n")
    }

    async fn leading(&self) -> usize {
        let mut leading = 0;
        for number in 0..self.replicas.len() {
            leading += usize::from(self.scrape(number).await.is_ok_and(|metrics| leads(&metrics)));
        }
        leading
    }

    /// Keeps the log of the previous process, which a new one would overwrite.
    fn keep_log(&self, name: &str, starts: u32) -> Result<()> {
        let logs = self.cluster.folder().join("log");
        match fs::rename(logs.join(format!("{name}.log")), logs.join(format!("{name}-{starts}.log"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Whether the replica exposes the metrics of the sessions.
pub(super) fn leads(metrics: &Exposition) -> bool {
    metrics.series(OF_LEADER).next().is_some() || metrics.series("vdi_sessions_total").next().is_some()
}

// === impl Replica ===

impl Replica {
    fn new(name: &'static str) -> Result<Self> {
        // A port that was free a moment ago.
        let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut config = Config::new(format!("https://{metrics}").parse()?);
        config.accept_invalid_certs = true;
        Ok(Self { name, metrics, client: Client::try_from(config)?, program: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
