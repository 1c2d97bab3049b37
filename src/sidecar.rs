//! The sidecar of a desktop: one thread polls the GPU, another polls the connections and serves HTTP. Each poll publishes an immutable
//! snapshot; a scrape encodes the latest snapshots. Only `config` reads the environment, only `pod_files` reads files; `attribution`, `track`, `snapshot`,
//! `catalogue` and `page` are pure.

pub mod attribution;
pub mod catalogue;
pub mod config;
mod evidence;
mod observation;
mod page;
mod pod_files;
mod poller;
pub mod replay;
pub mod snapshot;
mod source;
mod termination;
mod track;

use std::{
    error::Error,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::{Extension, Router, http::HeaderMap, routing::get};
use tokio::sync::watch;

use self::{catalogue::CATALOGUE, config::Config, snapshot::Snapshot};
use crate::{
    contract,
    presence::{self, Monitors, Poller, PresenceSnapshot},
    runtime::{
        self, admin,
        catalogue::families,
        http::{self, Client},
        listen,
        log::{self, Chain},
        readiness::Readiness,
        shutdown,
    },
};

/// Runs the sidecar until SIGTERM.
///
/// # Errors
/// Fails if the system cannot start a thread. Bad configuration, an address in use and GPU failures are not errors.
pub fn run() -> Result<(), Box<dyn Error>> {
    runtime::libc::return_freed_memory();
    runtime::libc::ignore_signals_of_others();
    let (config, invalid) = Config::from_env();
    log::init(config.log);
    for variable in invalid {
        tracing::warn!("{variable}");
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(&config))?;
    Ok(())
}

/// Serves until SIGTERM. Then the poller writes the termination message, and the process exits. The exit does not wait for a
/// poller that hangs in a driver call, nor for open connections: a response of a few kilobytes is already in the socket's
/// buffer.
async fn serve(config: &Config) -> io::Result<()> {
    // The kubelet and the container runtime can send SIGTERM twice. The termination message is written even then.
    let shutdown = shutdown::on_signal(|| ())?;
    let mut presence = Poller::start(&config.root, config.presence.clone());
    let (start, poller) = poller::spawn(config, presence.snapshots())?;
    let snapshots = Snapshots { gpu: poller.snapshots.clone(), presence: presence.snapshots() };
    let serving = serve_metrics(config.listen, snapshots, presence.monitors(), start);
    tokio::select! {
        () = shutdown.requested() => {
            presence.poll();
            poller.end().await;
            runtime::libc::exit_immediately(0)
        }
        ended = serving => ended,
        never = presence.run(config.interval) => match never {},
    }
}

/// The latest snapshot of each poller.
#[derive(Clone)]
struct Snapshots {
    gpu: watch::Receiver<Arc<Snapshot>>,
    presence: watch::Receiver<Arc<PresenceSnapshot>>,
}

/// Serves the page for people, the metrics and the health endpoints. Returns only if serving fails.
async fn serve_metrics(
    listen: SocketAddr,
    snapshots: Snapshots,
    monitors: Option<Monitors>,
    start: poller::StartGate,
) -> io::Result<()> {
    let for_page = snapshots.clone();
    let page = get(async move || {
        let (gpu, presence) = for_page.latest();
        page::text(&gpu, &presence, SystemTime::now())
    });
    let metrics = get(async move |Extension(Client(client)), headers: HeaderMap| {
        if let Some(monitors) = monitors.as_ref().filter(|_| headers.contains_key(SCRAPE_HEADER)) {
            monitors.add(client, Instant::now());
        }
        let (gpu, presence) = snapshots.latest();
        let mut metrics = families(CATALOGUE, &gpu);
        metrics.extend(families(presence::catalogue::ROWS, &presence));
        admin::exposition(&headers, &metrics)
    });
    let app = Router::new()
        .route("/", page)
        .route(contract::METRICS_PATH, metrics)
        .merge(admin::health(Readiness::default()));
    http::warm_up(app.clone(), contract::METRICS_PATH).await;
    http::warm_up(app.clone(), "/").await;
    match http::serve(bind_when_free(listen, start).await?, app).await? {}
}

// === impl Snapshots ===

impl Snapshots {
    fn latest(&self) -> (Arc<Snapshot>, Arc<PresenceSnapshot>) {
        (Arc::clone(&self.gpu.borrow()), Arc::clone(&self.presence.borrow()))
    }
}

/// Prometheus sends this header with every scrape, and so do the agents that use its code. A person or a proxy that opens `/metrics` from
/// the address of viewers does not.
const SCRAPE_HEADER: &str = "x-prometheus-scrape-timeout-seconds";

/// Listens as soon as the address is free. The first attempt opens the poller's gate, whether it succeeds or fails. The
/// sidecar does not exit if the address is in use: the kubelet would restart it again and again, and the pod would never be
/// Ready.
async fn bind_when_free(listen: SocketAddr, start: poller::StartGate) -> io::Result<tokio::net::TcpListener> {
    let mut start = Some(start);
    loop {
        match listen::bind(listen) {
            Ok(listener) => {
                let address = listener.local_addr()?;
                tracing::info!(version = runtime::VERSION, revision = runtime::REVISION, %address, "Serving metrics");
                return tokio::net::TcpListener::from_std(listener);
            }
            Err(error) if start.is_some() => {
                tracing::warn!(error = %Chain(&error), "Cannot serve metrics yet; trying again every second")
            }
            Err(_) => {}
        }
        start = None;
        tokio::time::sleep(BIND_RETRY).await;
    }
}

/// Pause between two attempts to listen. The pause is at most a twentieth of a scrape interval; the attempts cost no measurable
/// CPU time.
const BIND_RETRY: Duration = Duration::from_secs(1);
