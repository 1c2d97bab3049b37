//! Plain HTTP/1 for scrapers and probes: few clients with short requests. Every client that reaches the port can connect. So the
//! number of connections, their idle time and their total time are limited.

use std::{convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Maximum number of connections; a scraper needs one. Further clients wait until a connection ends. If all connections are
/// idle, they wait for at most [`IDLE_TIMEOUT`].
const MAX_CONNECTIONS: usize = 32;

/// Timeout for the headers of a request, and between two requests. It is shorter than usual scrape intervals, so that a scrape
/// never uses a connection that is being closed. A new connection costs a scraper less than a millisecond.
const IDLE_TIMEOUT: Duration = Duration::from_secs(7);

/// Timeout of a connection. It ends the connection of a client that reads the response byte by byte or never stops sending
/// requests.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Size of the read buffer in bytes: the minimum that hyper allows. The headers of a scrape have some hundred bytes.
const BUFFER_BYTES: usize = 8192;

/// Delay after a failure to accept a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The address of the client; none for an internal request. Every request has it as an extension.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub Option<IpAddr>);

/// Serves requests and does not return.
///
/// # Errors
/// Does not fail in practice: only a closed semaphore is an error, and the semaphore is never closed.
pub async fn serve(listener: TcpListener, app: Router) -> io::Result<Infallible> {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, client)) => {
                // Without NoDelay, a scrape on an open connection can wait 40 ms for a delayed acknowledgement. If the call
                // fails, only this time is lost.
                let _ = stream.set_nodelay(true);
                let connection = serve_connection(stream, Client(Some(client.ip())), app.clone());
                tokio::spawn(async move {
                    // An error or a timeout ends the connection; nothing else is necessary.
                    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
                    drop(permit);
                });
            }
            // The process has no free file descriptor, or the client closed the connection before it was accepted.
            Err(error) => {
                tracing::debug!(%error, "Cannot accept a connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Answers one internal request for `path`, so that this thread creates every thread-local value that a response needs. Later
/// the thread may be unable to create them: it must wait while another thread loads a library (glibc's `dl_load_lock`).
pub async fn warm_up(app: Router, path: &str) {
    let (mut client, server) = tokio::io::duplex(BUFFER_BYTES);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    );
    let send = async {
        // Both ends of the connection are in this process, so neither call can fail.
        let _ = client.write_all(request.as_bytes()).await;
        let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
    };
    let _ = tokio::join!(send, serve_connection(server, Client(None), app));
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: Client,
    app: Router,
) -> hyper::Result<()> {
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(client);
        app.call(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
