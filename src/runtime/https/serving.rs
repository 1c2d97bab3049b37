//! Accepts connections and serves them within the limits.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderValue, header},
    middleware::map_response,
    response::Response,
};
use hyper::{Request, body::Incoming, server::conn::http1, service::Service};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{interval, sleep, timeout},
};
use tokio_rustls::server::TlsStream;

use super::{
    connections::{ConnectionPhase, Connections, Limits, Opened},
    handshakes::Handshakes,
    metrics::{CloseReason, ConnectionMetrics, HttpsListener},
    share::HoldingId,
    stop::{StopHandle, Stopping},
};
use crate::runtime::readiness::{ProbeResult, Readiness};

/// Size of the read buffer of a connection, and so of the headers of a request, in bytes. A request of the API server has 300 bytes
/// of headers, and a bearer token at most a few KiB.
const BUFFER_BYTES: usize = 16 << 10;

/// Connections that the kernel keeps until they are accepted. With the 128 of the standard library, a flood fills the queue while
/// the server is busy, and a new connection of the API server then waits a second for the next attempt.
const BACKLOG: i32 = 1024;

/// Time between two checks for connections that must end.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Delay after a failure to accept a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The TLS of a listener. A change applies to new connections.
pub type SharedTls = Arc<ArcSwap<ServerConfig>>;

/// A listener and its connections.
struct Server {
    name: HttpsListener,
    connections: Mutex<Connections>,
    metrics: ConnectionMetrics,
    handshakes: Handshakes,
    tls: SharedTls,
    app: TowerToHyperService<Router>,
}

/// An open connection. It is counted as closed when the value is dropped.
struct Tracked {
    server: Arc<Server>,
    id: HoldingId,
    reason: CloseReason,
}

/// Serves `router` until the handle stops it. Each request has the address of its client (`ConnectInfo`).
///
/// # Errors
/// Fails if the listener cannot be registered with the runtime, or a thread cannot be started.
pub fn serve(
    name: HttpsListener,
    listener: TcpListener,
    tls: SharedTls,
    stop: &StopHandle,
    router: Router,
    metrics: &ConnectionMetrics,
) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
    listener.set_nonblocking(true)?;
    SockRef::from(&listener).listen(BACKLOG)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let server = Arc::new(Server {
        name,
        connections: Mutex::new(Connections::new(name.limits())),
        metrics: metrics.clone(),
        handshakes: Handshakes::start(name)?,
        tls,
        app: TowerToHyperService::new(router),
    });
    Ok(run(server, listener, stop.stopping()))
}

/// Adds `Connection: close` to every response while the process is not ready. Otherwise the API server keeps using a connection
/// to a server that is shutting down and is no endpoint of the Service any more.
pub fn close_connections_unless_ready(router: Router, readiness: Readiness) -> Router {
    router.layer(map_response(move |mut response: Response| {
        let is_ready = readiness.probe() == ProbeResult::Ready;
        async move {
            if !is_ready {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }))
}

async fn run(
    server: Arc<Server>,
    listener: tokio::net::TcpListener,
    mut stopping: Stopping,
) -> io::Result<()> {
    // Every connection has a sender, so the receiver returns when the last connection has ended.
    let (running, mut ended) = mpsc::channel::<()>(1);
    let mut stopped = stopping.clone();
    let mut check = interval(CHECK_INTERVAL);
    let drain = loop {
        tokio::select! {
            drain = stopped.requested() => break drain,
            _ = check.tick() => server.end_overdue(),
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => server.open(stream, client, &stopping, running.clone()),
                // The process has no free file descriptor, or the client closed the connection before it was accepted.
                Err(error) => {
                    tracing::debug!(%error, "Cannot accept a connection");
                    sleep(ACCEPT_RETRY).await;
                }
            },
        }
    };
    drop((listener, running));
    stopping.requested().await;
    // After the timeout the remaining connections end with the process.
    let _ = timeout(drain, ended.recv()).await;
    Ok(())
}

// === impl HttpsListener ===

impl HttpsListener {
    /// The limits. An idle connection takes 23 KiB. docs/security.md has the reasons.
    const fn limits(self) -> Limits {
        let connections = match self {
            // Twice the requests that one API server has in flight by default. It keeps at most 25 idle connections.
            Self::Webhook => 1024,
            Self::Metrics => 64,
        };
        Limits {
            connections,
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(10),
            // Longer than 90 s, the time after which the API server closes an idle connection. With a shorter time, this side could
            // close a connection on which the API server is sending a review.
            idle: Duration::from_secs(120),
            // Longer than 30 s, the longest timeout that a webhook configuration can have.
            request: Duration::from_secs(35),
        }
    }
}

// === impl Server ===

impl Server {
    /// Starts to serve a connection, or closes it.
    fn open(
        self: &Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        stopping: &Stopping,
        running: mpsc::Sender<()>,
    ) {
        let Some(opened) = self.connections().open(client.ip().to_canonical(), Instant::now()) else {
            return self.metrics.count_closed(self.name, CloseReason::Displaced);
        };
        self.show_open();
        // Without NoDelay (with Nagle's algorithm), a new TLS connection takes 44 ms instead of 1 ms. If the call fails, only this
        // time is lost.
        let _ = stream.set_nodelay(true);
        let tracked = Tracked { server: Arc::clone(self), id: opened.id, reason: CloseReason::Failed };
        let stopping = stopping.clone();
        tokio::spawn(async move {
            tracked.run(stream, client, opened, stopping).await;
            drop(running);
        });
    }

    fn end_overdue(&self) {
        self.connections().end_overdue(Instant::now());
        self.show_open();
    }

    fn show_open(&self) {
        let open = self.connections().count();
        self.metrics.set_open(self.name, open);
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        // A poisoned lock is usable: at worst one connection is counted until it ends.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Tracked ===

impl Tracked {
    /// Serves the connection until it ends or must end.
    async fn run(mut self, stream: TcpStream, client: SocketAddr, opened: Opened, mut stopping: Stopping) {
        let mut must_close = opened.must_close;
        let handshake = self.server.handshakes.perform(self.server.tls.load_full(), stream);
        let accepted = tokio::select! {
            reason = &mut must_close => Err(reason.unwrap_or(CloseReason::Failed)),
            _ = stopping.requested() => Err(CloseReason::Shutdown),
            accepted = handshake => accepted.map_err(|_| CloseReason::HandshakeFailed),
        };
        self.reason = match accepted {
            Ok(stream) => tokio::select! {
                reason = &mut must_close => reason.unwrap_or(CloseReason::Failed),
                reason = self.serve(stream, client, stopping) => reason,
            },
            Err(reason) => reason,
        };
    }

    async fn serve(
        &self,
        stream: TlsStream<TcpStream>,
        client: SocketAddr,
        mut stopping: Stopping,
    ) -> CloseReason {
        self.enter(ConnectionPhase::FirstRequest);
        let service = hyper::service::service_fn(|request| self.answer(request, client));
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => return finished(&ended, CloseReason::Finished),
            _ = stopping.requested() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        finished(&ended, CloseReason::Shutdown)
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: SocketAddr,
    ) -> Result<Response<Body>, std::convert::Infallible> {
        self.enter(ConnectionPhase::Request);
        request.extensions_mut().insert(ConnectInfo(client));
        let response = self.server.app.call(request).await;
        self.enter(ConnectionPhase::Idle);
        if response.as_ref().is_ok_and(|response| response.status().is_success()) {
            self.server.connections().succeeded(self.id);
        }
        response
    }

    fn enter(&self, phase: ConnectionPhase) {
        self.server.connections().enter(self.id, phase, Instant::now());
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.server.connections().closed(self.id);
        self.server.metrics.count_closed(self.server.name, self.reason);
        self.server.show_open();
    }
}

fn finished(ended: &hyper::Result<()>, reason: CloseReason) -> CloseReason {
    if ended.is_ok() { reason } else { CloseReason::Failed }
}
