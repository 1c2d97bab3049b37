//! What runs beside a desktop: one thread polls the GPU and publishes immutable snapshots, a scrape only encodes the
//! latest one. `config` alone reads the environment; `attribution`, `counters`, `snapshot` and `catalogue` are pure.

pub mod attribution;
pub mod catalogue;
pub mod config;
mod counters;
mod exposition;
mod poller;
pub mod snapshot;

use std::{error::Error, io, net::TcpListener, sync::Arc};

use axum::{Router, routing::get, serve::ListenerExt};
use tokio::sync::watch;

use self::{config::Config, snapshot::Snapshot};
use crate::{
    contract,
    runtime::{self, admin, listen, log, readiness::Readiness, shutdown},
};

/// Runs until SIGTERM.
///
/// # Errors
/// Fails where the address is taken or the system refuses a thread; never over configuration, never over the GPU.
pub fn run() -> Result<(), Box<dyn Error>> {
    let (config, problems) = Config::from_env();
    log::init(config.log);
    for problem in problems {
        tracing::warn!("{problem}");
    }
    let listener = listen::bind(config.listen)?;
    let address = listener.local_addr()?;
    tracing::info!(version = runtime::VERSION, revision = runtime::REVISION, %address, "Serving metrics");
    let snapshots = poller::spawn(config)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(listener, snapshots))?;
    Ok(())
}

/// Ends at once when asked to: the poller is left behind in whatever driver call it is, and an answer of a few
/// kilobytes is already in the socket or was never going to be read.
async fn serve(listener: TcpListener, snapshots: watch::Receiver<Arc<Snapshot>>) -> io::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let metrics = get(async move || {
        let snapshot = Arc::clone(&snapshots.borrow());
        admin::exposition(&exposition::families(&snapshot))
    });
    let app = Router::new().route(contract::METRICS_PATH, metrics).merge(admin::health(Readiness::default()));
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|connection| {
        // Without it a kept-alive scrape can wait 40 ms for a delayed acknowledgement. A refusal costs only that.
        let _ = connection.set_nodelay(true);
    });
    tokio::select! {
        () = shutdown.requested() => Ok(()),
        ended = axum::serve(listener, app) => ended,
    }
}
