//! The agent on GPU nodes: reads the driver once for all sessions, and writes what belongs to each session into a file of the
//! session's pod. `attribution`, `cgroup` and `device_totals` are pure.

mod agent;
mod allocations;
mod attribution;
pub mod catalogue;
pub mod cgroup;
pub mod config;
mod device_reader;
mod device_totals;
mod kept_samples;
mod pod_names;
mod pod_resources;
mod pod_volumes;
mod process_table;
mod schedulers;
mod selection;
mod session_reports;
pub mod snapshot;

pub use self::device_totals::OwnerKind;

use std::{
    error::Error,
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

use axum::{Router, http::HeaderMap, routing::get};
use tokio::{runtime::Handle, sync::watch};

use self::{
    agent::{AgentPoller, Channels},
    allocations::Allocations,
    catalogue::CATALOGUE,
    config::NodeOptions,
    pod_resources::PodResources,
    snapshot::NodeSnapshot,
};
use crate::{
    contract, gpu,
    runtime::{self, admin, catalogue::families, http, listen, log, readiness::Readiness, shutdown},
    sampling::poll::PollLoop,
};

/// Number of lists of the kubelet between two polls. With one list, a new desktop could wait for two intervals.
const LISTS_PER_POLL: u32 = 3;

/// Runs the agent until SIGTERM.
///
/// # Errors
/// Fails if a folder of the node cannot be read, or if the address cannot be bound.
pub fn run(options: &NodeOptions) -> Result<(), Box<dyn Error>> {
    runtime::libc::return_freed_memory();
    log::init(options.log);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: &NodeOptions) -> Result<(), Box<dyn Error>> {
    let shutdown = shutdown::on_signal(|| ())?;
    let interval = options.interval()?;
    let listener = listen::bind(options.listen).map_err(|error| {
        format!("--listen: {}; end the other program, or use another address", log::Chain(&error))
    })?;
    let (allocations, allocated) = watch::channel(Arc::new(Allocations::default()));
    let (snapshots, latest) = watch::channel(Arc::new(NodeSnapshot::default()));
    let readiness = Readiness::default();
    let channels = Channels {
        allocations: allocated.clone(),
        snapshots,
        first_poll: readiness.latch("the end of the first poll"),
    };
    let mut agent = AgentPoller::new(interval, options, channels)?;
    let (stop, stop_requests) = mpsc::channel();
    let library = options.nvml_library.clone().map(|library| vec![library]);
    let library = library.unwrap_or_else(|| gpu::library_locations(Path::new("/")));
    let mut polls = PollLoop::new(library, interval, stop_requests);
    let (mut first_list, runtime) = (allocated, Handle::current());
    thread::Builder::new().name("nvml-poller".to_owned()).spawn(move || {
        // Without the kubelet's list the first reports would say that every device is possibly shared. An error is an answer too.
        let _: Result<(), _> = runtime.block_on(first_list.changed());
        polls.run_until_over(&mut agent, AgentPoller::after_panic);
    })?;
    let kubelet = PodResources::new(&options.kubelet_root);
    let metrics = get(async move |headers: HeaderMap| {
        let snapshot = Arc::clone(&latest.borrow());
        admin::exposition(&headers, &families(CATALOGUE, &snapshot))
    });
    let app = Router::new().route(contract::METRICS_PATH, metrics).merge(admin::health(readiness));
    let address = listener.local_addr()?;
    tracing::info!(version = runtime::VERSION, revision = runtime::REVISION, %address, "Serving metrics");
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::select! {
        () = shutdown.requested() => {
            drop(stop);
            // A poll can hang in the driver, so the exit does not wait for it.
            runtime::libc::exit_immediately(0)
        }
        () = allocations::follow(kubelet, interval / LISTS_PER_POLL, allocations) => Err("the thread that polls the driver has ended".into()),
        ended = http::serve(listener, app) => match ended? {},
    }
}
