//! What runs beside a desktop: one thread polls the GPU and publishes immutable snapshots, a scrape only encodes the
//! latest one. `config` alone reads the environment; `attribution`, `counters`, `snapshot` and `catalogue` are pure.

pub mod attribution;
pub mod catalogue;
pub mod config;
mod evidence;
mod exposition;
mod pod_files;
mod poller;
pub mod snapshot;
mod termination;

use std::{error::Error, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, http::HeaderMap, routing::get};
use tokio::sync::watch;

use self::{config::Config, snapshot::Snapshot};
use crate::{
    contract,
    runtime::{
        self, admin, http, listen,
        log::{self, Chain},
        readiness::Readiness,
        shutdown,
    },
};

/// Runs until SIGTERM.
///
/// # Errors
/// Fails where the system refuses a thread; never over configuration, an address that is taken, or the GPU.
pub fn run() -> Result<(), Box<dyn Error>> {
    runtime::libc::return_freed_memory();
    let (config, problems) = Config::from_env();
    log::init(config.log);
    for problem in problems {
        tracing::warn!("{problem}");
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(&config))?;
    Ok(())
}

/// Ends when asked to, with the last word: the poller is left behind in whatever driver call it is, and an answer of a few
/// kilobytes is already in the socket or was never going to be read.
async fn serve(config: &Config) -> io::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let (begun, poller) = poller::spawn(config)?;
    let serving = serve_for_ever(config.listen, poller.snapshots.clone(), begun);
    tokio::select! {
        () = shutdown.requested() => {
            poller.end().await;
            runtime::libc::exit_immediately(0)
        }
        ended = serving => ended,
    }
}

async fn serve_for_ever(
    listen: SocketAddr,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    begun: poller::StartGate,
) -> io::Result<()> {
    let metrics = get(async move |headers: HeaderMap| {
        let snapshot = Arc::clone(&snapshots.borrow());
        admin::exposition(&headers, &exposition::families(&snapshot))
    });
    let app = Router::new().route(contract::METRICS_PATH, metrics).merge(admin::health(Readiness::default()));
    http::rehearse(app.clone(), contract::METRICS_PATH).await;
    match http::serve(bound(listen, begun).await?, app).await? {}
}

/// Listens as soon as the address is free. A sidecar that ended over it would be started again and again, and the pod
/// never be Ready.
async fn bound(listen: SocketAddr, begun: poller::StartGate) -> io::Result<tokio::net::TcpListener> {
    let mut begun = Some(begun);
    loop {
        match listen::bind(listen) {
            Ok(listener) => {
                let address = listener.local_addr()?;
                tracing::info!(version = runtime::VERSION, revision = runtime::REVISION, %address, "Serving metrics");
                return tokio::net::TcpListener::from_std(listener);
            }
            Err(error) if begun.is_some() => {
                tracing::warn!(error = %Chain(&error), "Nobody can scrape this session; trying again")
            }
            Err(_) => {}
        }
        begun = None;
        tokio::time::sleep(BIND_AGAIN).await;
    }
}

/// A twentieth of a scrape interval or less, and nothing on the processor.
const BIND_AGAIN: Duration = Duration::from_secs(1);
