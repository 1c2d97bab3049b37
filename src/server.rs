//! The server: binds its addresses, starts every task and supervises the tasks until the shutdown.

mod exposition;
mod supervisor;
mod watches;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::Router;
use tokio::time::{sleep, timeout};

use crate::{
    admission::{LabelValues, Namespaces, selection},
    breaker::{Breaker, BreakerConfiguration},
    cluster::{self, Clients, SignInError},
    coverage::Coverage,
    metrics_access::ClusterReviewer,
    registration::{CertificateFiles, CertificateSource, FileError, Managed, Registration, WebhookNames},
    runtime::{
        admin, http,
        https::{self, ClientCa, ConnectionMetrics, HttpsListener, SharedTls, StopHandle},
        libc, listen,
        log::Chain,
        readiness::Readiness,
        shutdown,
    },
    sessions::{self, Sessions, SettingsSource, ledger::ActiveSettings},
    webhook::{
        self,
        configuration::{self, ActiveConfiguration},
        metrics::WebhookMetrics,
    },
};

use supervisor::{Supervisor, TaskError};
use watches::{LimitsWatch, Watches};

/// Time to finish open requests after the server stopped accepting connections. The server itself needs microseconds; the
/// rest is for slow clients.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Time to save the counts of sessions and to release the lease at the shutdown.
const COUNTING_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses, files and times that the server starts with.
#[derive(Debug)]
pub struct ServerOptions {
    /// Address of the webhook, with TLS.
    pub listen: SocketAddr,
    /// Address of the server's metrics, with TLS.
    pub metrics_listen: SocketAddr,
    /// Audiences of the tokens of clients that may read the metrics; empty: the audiences of the API server. `None`: every client
    /// may read the metrics.
    pub metrics_audiences: Option<Vec<String>>,
    /// Whether the metrics have a series for each session and GPU.
    pub gpu_allocation_info: bool,
    /// Address of the kubelet's probes, without TLS.
    pub health_listen: SocketAddr,
    /// The certificate.
    pub certificate: CertificateOptions,
    /// Certificate authorities of the clients of the webhook: PEM file. `None`: the webhook answers every client.
    pub client_ca: Option<PathBuf>,
    /// Configuration file; `None` means the defaults.
    pub config: Option<PathBuf>,
    /// Time to continue serving after the request to shut down.
    pub lame_duck: Duration,
}

/// Where the certificate comes from.
#[derive(Debug)]
pub enum CertificateOptions {
    /// The server's own CA.
    Managed(Managed),
    /// Files that another program writes.
    Files(CertificateFiles),
}

/// Serves until the process receives a signal to shut down.
///
/// # Errors
/// Fails before anything is served if a file cannot be used or an address cannot be bound. Later it fails if a task ends
/// before the shutdown.
pub async fn run(options: ServerOptions) -> anyhow::Result<()> {
    let ServerOptions {
        listen,
        metrics_listen,
        health_listen,
        certificate,
        client_ca,
        config,
        lame_duck,
        ..
    } = options;
    let reviewer = options.metrics_audiences.map(ClusterReviewer::new);
    let settings = configuration::read_or_default(config.as_deref())?;
    let source = certificate.read()?;
    let [webhook, metrics, health] =
        [listen::bind(listen)?, listen::bind(metrics_listen)?, listen::bind(health_listen)?];
    let shutdown = shutdown::on_signal(|| libc::exit_immediately(130))?;
    let (readiness, registry) = (Readiness::default(), admin::registry()?);
    // At the shutdown the servers drain their connections, and the tasks are dropped.
    let (mut tasks, mut servers, stop) =
        (Supervisor::default(), Supervisor::default(), StopHandle::default());

    let connections = ConnectionMetrics::register(&registry)?;
    let webhook_metrics = WebhookMetrics::register(&registry)?;
    let configuration = ActiveConfiguration::new(settings, webhook_metrics.clone());
    let namespaces = Arc::<ArcSwap<Namespaces>>::default();
    let settings = session_settings(configuration.clone());
    let sessions = Sessions::register(&registry, options.gpu_allocation_info, settings)?;
    let coverage = Coverage::register(&registry, sessions.leadership())?;
    let breaker =
        Breaker::register(&registry, sessions.leadership(), breaker_configuration(configuration.clone()))?;
    let registration =
        Registration::register(&registry, &readiness, sessions.leadership(), source, webhook_names())?;
    let tls = registration.serving().server_config()?;
    let client_ca = client_ca.map(|path| ClientCa::read(&path, &tls)).transpose()?;
    let tls = Arc::new(ArcSwap::new(tls));
    let (stop_counting, stop_request) = sessions::stop_request();
    let mutate =
        webhook::router(configuration.clone(), Arc::clone(&namespaces), breaker.gate(), webhook_metrics);
    let limits = LimitsWatch::new(namespaces, readiness.latch("limits"));
    let watches = Watches { sessions, stop: stop_request, coverage, breaker, registration, limits };
    let mutate = https::close_connections_unless_ready(mutate, readiness.clone());
    let exposition = exposition::router(registry, reviewer.clone())?;

    let webhook_tls = client_ca.as_ref().map_or_else(|| Arc::clone(&tls), ClientCa::tls);
    let mut start = |name, listener, tls, router| {
        start_server(&mut servers, name, listener, tls, &stop, router, &connections)
    };
    start(HttpsListener::Webhook, webhook, webhook_tls, mutate)?;
    start(HttpsListener::Metrics, metrics, tls, exposition)?;
    start_probes(&mut tasks, health, readiness.clone())?;
    if let Some(client_ca) = client_ca {
        tasks.spawn("reload of the client authorities", async {
            client_ca.follow().await;
            Ok(())
        });
    }
    if let Some(path) = config {
        tasks.spawn("configuration reload", async {
            configuration.follow(path).await;
            Ok(())
        });
    }

    supervise(shutdown.requested(), sign_in(reviewer), watches, &mut servers, &mut tasks).await?;
    readiness.shut_down();
    let ((), counting) = tokio::join!(sleep(lame_duck), timeout(COUNTING_STOP_TIMEOUT, stop_counting.stop()));
    if counting.is_err() {
        tracing::warn!(
            "The latest counts of sessions are not saved; the next leader reads them from the API server"
        );
    }
    stop.stop(DRAIN_TIMEOUT);
    servers.stopped().await?;
    tracing::info!("Shutdown complete");
    Ok(())
}

/// The names of the shipped webhook configuration.
fn webhook_names() -> WebhookNames {
    WebhookNames {
        configuration: selection::shipped_name(),
        entries: selection::shipped_entry_names().collect(),
    }
}

/// The settings of the session metrics in the active configuration.
fn session_settings(configuration: ActiveConfiguration) -> SettingsSource {
    SettingsSource::new(move || {
        let injector = configuration.injector();
        let LabelValues { templates, pools } = injector.settings().label_values.clone();
        ActiveSettings { hash: injector.hash().to_owned(), templates, pools }
    })
}

/// The part of the active configuration that the breaker needs.
fn breaker_configuration(configuration: ActiveConfiguration) -> impl Fn() -> BreakerConfiguration {
    move || {
        let injector = configuration.injector();
        BreakerConfiguration { hash: injector.hash().to_owned(), is_paused: injector.settings().paused }
    }
}

/// Signs in to the cluster, and enables the reviewer.
async fn sign_in(reviewer: Option<ClusterReviewer>) -> Result<Clients, SignInError> {
    let clients = cluster::sign_in().await?;
    if let Some(reviewer) = reviewer {
        reviewer.signed_in(clients.once.clone());
    }
    Ok(clients)
}

/// Starts an HTTPS server.
fn start_server(
    servers: &mut Supervisor,
    name: HttpsListener,
    listener: TcpListener,
    tls: SharedTls,
    stop: &StopHandle,
    router: Router,
    metrics: &ConnectionMetrics,
) -> io::Result<()> {
    listen::announce(name.as_str(), &listener)?;
    let serving = https::serve(name, listener, tls, stop, router, metrics)?;
    servers.spawn(name.as_str(), async { Ok(serving.await?) });
    Ok(())
}

/// Starts the HTTP server of the kubelet's probes.
fn start_probes(tasks: &mut Supervisor, listener: TcpListener, readiness: Readiness) -> io::Result<()> {
    listen::announce("health", &listener)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let probes = admin::health(readiness);
    // `serve` never returns `Ok`: the type of its success has no value.
    tasks.spawn("health", async { match http::serve(listener, probes).await? {} });
    Ok(())
}

/// Waits for the shutdown. Starts the watches once the sign-in succeeds. If the sign-in fails, the server runs without
/// watches.
async fn supervise(
    shutdown: impl Future<Output = ()>,
    sign_in: impl Future<Output = Result<Clients, SignInError>>,
    watches: Watches,
    servers: &mut Supervisor,
    tasks: &mut Supervisor,
) -> Result<(), TaskError> {
    let (mut shutdown, mut sign_in, mut watches) = (pin!(shutdown), pin!(sign_in), Some(watches));
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            error = servers.failure() => return Err(error),
            error = tasks.failure() => return Err(error),
            clients = &mut sign_in, if watches.is_some() => match (clients, watches.take()) {
                (Ok(clients), Some(watches)) => watches.start(clients, tasks),
                (Err(error), Some(watches)) => {
                    let error = Chain(&error).to_string();
                    tracing::warn!(
                        error,
                        "Cannot sign in to a cluster: the server decides on pods without LimitRanges and ResourceQuotas, \
                         does not count sessions, and cannot check tokens"
                    );
                    watches.skip(tasks);
                }
                (_, None) => {}
            },
        }
    }
}

// === impl CertificateOptions ===

impl CertificateOptions {
    /// Reads the files.
    fn read(self) -> Result<CertificateSource, FileError> {
        Ok(match self {
            Self::Managed(managed) => CertificateSource::Managed(managed),
            Self::Files(files) => CertificateSource::Files { content: files.read()?, files },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::runtime::readiness::ProbeResult;

    fn certificate() -> CertificateSource {
        let folder = tempfile::tempdir().unwrap();
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = folder.path().join("certificate.pem");
        std::fs::write(&file, issued.cert.pem() + &issued.signing_key.serialize_pem()).unwrap();
        let files = CertificateFiles { certificate: file, key: None, authority: None };
        CertificateOptions::Files(files).read().unwrap()
    }

    fn watches(readiness: &Readiness) -> Watches {
        let registry = admin::registry().unwrap();
        let settings = SettingsSource::new(ActiveSettings::default);
        let sessions = Sessions::register(&registry, true, settings).unwrap();
        let leadership = sessions.leadership();
        Watches {
            stop: sessions::stop_request().1,
            coverage: Coverage::register(&registry, leadership.clone()).unwrap(),
            breaker: Breaker::register(&registry, leadership.clone(), BreakerConfiguration::default).unwrap(),
            registration: Registration::register(
                &registry,
                readiness,
                leadership,
                certificate(),
                webhook_names(),
            )
            .unwrap(),
            limits: LimitsWatch::new(Arc::default(), readiness.latch("limits")),
            sessions,
        }
    }

    /// The error of the run, and the readiness, if `task` ends while other tasks continue.
    async fn supervised(
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> (String, ProbeResult) {
        let readiness = Readiness::default();
        let watches = watches(&readiness);
        let (mut servers, mut tasks) = (Supervisor::default(), Supervisor::default());
        servers.spawn("webhook", pending());
        tasks.spawn("health", pending());
        tasks.spawn("limits watch", task);
        let result = supervise(pending(), pending(), watches, &mut servers, &mut tasks).await;
        (result.unwrap_err().to_string(), readiness.probe())
    }

    #[tokio::test]
    async fn a_task_that_ends_early_ends_the_run_and_does_not_make_the_server_ready() {
        let unready = ProbeResult::WaitingFor(vec!["certificate", "registration", "limits"]);
        let (error, probe) = supervised(ready(Ok(()))).await;
        assert_eq!(error, "the task `limits watch` ended before the shutdown");
        assert_eq!(probe, unready);
        let (error, probe) = supervised(async { panic!("no such index") }).await;
        assert_eq!(error, "the task `limits watch` panicked: no such index");
        assert_eq!(probe, unready);
    }

    #[tokio::test]
    async fn without_a_cluster_the_server_is_ready_and_runs_until_the_shutdown() {
        let readiness = Readiness::default();
        let watches = watches(&readiness);
        let (mut servers, mut tasks) = (Supervisor::default(), Supervisor::default());
        let no_cluster = ready(Err(SignInError::Client(kube::Error::TlsRequired)));
        let shutdown = async {
            while readiness.probe() != ProbeResult::Ready {
                tokio::task::yield_now().await;
            }
        };
        supervise(shutdown, no_cluster, watches, &mut servers, &mut tasks).await.unwrap();
    }
}
