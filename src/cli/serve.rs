//! `vdi-metrics serve`: everything that the server does, wired in one place.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::bail;
use arc_swap::ArcSwap;
use axum::{
    Router,
    http::{HeaderMap, HeaderValue, header},
    middleware::map_response,
    response::Response,
    routing::get,
};
use axum_server::{
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use tokio::{runtime::Handle, sync::oneshot, task::JoinSet};

use crate::{
    admission::{self, Namespaces, Settings, configuration::Configuration, metrics::Metrics},
    contract::METRICS_PATH,
    limits,
    registration::certificate,
    runtime::{
        admin, http, listen,
        readiness::{Latch, Readiness},
        shutdown,
    },
    sessions::Sessions,
};

/// Time for a TLS handshake, and then for the first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two requests, headers included. The API server closes connections that were idle for 90 s; were we to
/// do it first, a review that is just being sent would be lost.
const NEXT_REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Time to learn what namespaces allow before we are ready all the same. Ready too early, we could have a desktop refused
/// for the sidecar's sake; never ready, none would have a sidecar.
const FIRST_LISTS: Duration = Duration::from_secs(5);

/// Time that open requests have at the end. Ours take microseconds; this is for slow senders.
const DRAIN: Duration = Duration::from_secs(5);

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the API server calls /mutate, over TLS
    #[arg(long, value_name = "ADDR", default_value = "[::]:10250")]
    listen: SocketAddr,
    /// Where /metrics is scraped, over TLS
    #[arg(long, value_name = "ADDR", default_value = "[::]:8443")]
    metrics_listen: SocketAddr,
    /// Where the kubelet asks for /healthz and /readyz, without TLS
    #[arg(long, value_name = "ADDR", default_value = "[::]:8081")]
    health_listen: SocketAddr,
    /// Certificate chain, PEM, leaf first
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
    /// What the sidecar is like, YAML; without it the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long to go on serving after SIGTERM, while the API server learns that we go
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    lame_duck: u64,
}

/// Serves until the process is asked to end.
///
/// # Errors
/// Where a file cannot be used or an address not be listened on; nothing has been served then.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args { listen, metrics_listen, health_listen, tls_cert, tls_key, config, lame_duck } = args;
    let settings = config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let tls = RustlsConfig::from_config(certificate::load(&tls_cert, &tls_key)?);
    let [webhook, metrics, health] =
        [listen::bind(listen)?, listen::bind(metrics_listen)?, listen::bind(health_listen)?];
    let shutdown = shutdown::on_signal()?;
    let (readiness, registry) = (Readiness::default(), admin::registry()?);

    let metrics_of_admission = Metrics::register(&registry)?;
    let configuration = Configuration::new(settings, metrics_of_admission.clone());
    if let Some(path) = config {
        tokio::spawn(configuration.clone().follow(path));
    }
    let namespaces = Arc::<ArcSwap<Namespaces>>::default();
    let mutate = admission::edge::router(configuration, Arc::clone(&namespaces), metrics_of_admission);
    let (first, listed) = oneshot::channel();
    tokio::spawn(until(listed, readiness.latch("limits")));
    tokio::spawn(watch_cluster(Sessions::register(&registry)?, namespaces, first));
    let exposition = move |headers: HeaderMap| async move { admin::exposition(&headers, &registry.gather()) };
    let handle = axum_server::Handle::new();
    let exposition = Router::new().route(METRICS_PATH, get(exposition));
    let mut servers = JoinSet::new();
    servers.spawn(over_tls("webhook", webhook, &tls, &handle, closing(mutate, readiness.clone()))?);
    servers.spawn(over_tls("metrics", metrics, &tls, &handle, exposition)?);
    announce("health", &health)?;
    tokio::spawn(http::serve(tokio::net::TcpListener::from_std(health)?, admin::health(readiness.clone())));

    tokio::select! {
        () = shutdown.requested() => {}
        Some(ended) = servers.join_next() => bail!("a server ended by itself: {ended:?}"),
    }
    let _unready = readiness.latch("the end");
    tokio::time::sleep(Duration::from_secs(lame_duck)).await;
    handle.graceful_shutdown(Some(DRAIN));
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    tracing::info!("Ended");
    Ok(())
}

/// Lets go of the latch once the other end is dropped, or it takes too long.
async fn until(dropped: oneshot::Receiver<Infallible>, latch: Latch) {
    if tokio::time::timeout(FIRST_LISTS, dropped).await.is_err() {
        tracing::warn!(
            "Ready without knowing LimitRanges and ResourceQuotas: a pod may be refused for the sidecar's sake"
        );
    }
    drop(latch);
}

/// Counts sessions and learns what namespaces allow, where there is a cluster to ask. Admission goes on without it and never
/// waits for it.
async fn watch_cluster(
    sessions: Sessions,
    namespaces: Arc<ArcSwap<Namespaces>>,
    first: oneshot::Sender<Infallible>,
) {
    // Signing in may run another program and wait for it, which no thread of the server's may.
    let client = tokio::task::spawn_blocking(|| {
        let config = Handle::current().block_on(kube::Config::infer())?;
        anyhow::Ok(kube::Client::try_from(config)?)
    });
    match client.await.map_err(anyhow::Error::from).flatten() {
        Ok(client) => {
            tokio::join!(sessions.count(client.clone()), limits::follow(client, &namespaces, first));
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(error, "No cluster to watch: admitting pods, counting no sessions");
        }
    }
}

/// Serves `router` over TLS until `handle` says otherwise.
fn over_tls(
    name: &str,
    listener: TcpListener,
    tls: &RustlsConfig,
    handle: &axum_server::Handle<SocketAddr>,
    router: Router,
) -> anyhow::Result<impl Future<Output = std::io::Result<()>> + use<>> {
    announce(name, &listener)?;
    // NoDelay: Nagle's algorithm makes a new TLS connection take 44 ms instead of 1.
    let acceptor = RustlsAcceptor::new(tls.clone())
        .handshake_timeout(FIRST_REQUEST_TIMEOUT)
        .acceptor(NoDelayAcceptor::new());
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(acceptor)
        .handle(handle.clone())
        .http1_only()
        .first_request_timeout(FIRST_REQUEST_TIMEOUT);
    server.http_builder().http1().header_read_timeout(NEXT_REQUEST_TIMEOUT);
    Ok(server.serve(router.into_make_service()))
}

/// While it is not ready, at its end before all, asks every client to connect anew: the API server would keep using a
/// connection to a server that is no longer an endpoint.
fn closing(router: Router, readiness: Readiness) -> Router {
    router.layer(map_response(move |mut response: Response| {
        let ready = readiness.pending().is_empty();
        async move {
            if !ready {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }))
}

fn announce(name: &str, listener: &TcpListener) -> std::io::Result<()> {
    tracing::info!(server = name, address = %listener.local_addr()?, "Listening");
    Ok(())
}
