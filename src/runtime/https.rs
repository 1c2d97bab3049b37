//! HTTPS for the API server and Prometheus.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware::map_response,
    response::Response,
};
use axum_server::{
    Handle,
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use rustls::ServerConfig;

use super::readiness::{ProbeResult, Readiness};

/// Timeout of the TLS handshake, and then of the first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout between two requests, including the headers of the second one. It is longer than 90 s, the time after which the API
/// server closes an idle connection. With a shorter timeout, this side could close a connection on which the API server is
/// sending a review.
const NEXT_REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Stops the servers that were started with this handle.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Handle<SocketAddr>);

/// Serves `router` until the handle stops it. Each request has the address of its client (`ConnectInfo`).
///
/// # Errors
/// Fails if the listener cannot be registered with the runtime.
pub fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    handle: &StopHandle,
    router: Router,
) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
    // Without NoDelay (with Nagle's algorithm), a new TLS connection takes 44 ms instead of 1 ms.
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(tls))
        .handshake_timeout(FIRST_REQUEST_TIMEOUT)
        .acceptor(NoDelayAcceptor::new());
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(acceptor)
        .handle(handle.0.clone())
        .http1_only()
        .first_request_timeout(FIRST_REQUEST_TIMEOUT);
    server.http_builder().http1().header_read_timeout(NEXT_REQUEST_TIMEOUT);
    Ok(server.serve(router.into_make_service_with_connect_info::<SocketAddr>()))
}

/// Adds `Connection: close` to every response while the process is not ready. Otherwise the API server keeps using a connection
/// to a server that is shutting down and is not an endpoint of the Service any more.
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

// === impl StopHandle ===

impl StopHandle {
    /// Stops the servers when all open requests are answered, after `timeout` at the latest.
    pub fn stop(&self, timeout: Duration) {
        self.0.graceful_shutdown(Some(timeout));
    }
}
