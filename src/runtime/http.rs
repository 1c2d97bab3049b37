//! Plain HTTP/1 for scrapers and probes, who are few and quick. Everybody who reaches the port may connect, so connections
//! are bounded in number, in idleness and in time.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
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

/// A scraper needs one; the others wait until somebody goes, at most [`SILENCE`] where all are silent.
const CONNECTIONS: usize = 32;

/// Time for a request's head to arrive, and between two requests. Below every usual scrape interval, so that no scrape
/// meets a connection that is being closed; a new one costs a scraper less than a millisecond.
const SILENCE: Duration = Duration::from_secs(7);

/// Time for all of a connection: somebody who takes the answer byte by byte, or asks without end.
const WHOLE: Duration = Duration::from_secs(60);

/// The least that hyper allows; a scrape's head has some hundred bytes.
const HEAD: usize = 8192;

/// Serves until the listener fails for good, which it does not.
///
/// # Errors
/// None in practice.
pub async fn serve(listener: TcpListener, app: Router) -> io::Result<Infallible> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it a kept-alive scrape can wait 40 ms for a delayed acknowledgement. A refusal costs only that.
                let _ = stream.set_nodelay(true);
                let app = app.clone();
                tokio::spawn(async move {
                    // Both end the connection, and that is all there is to do.
                    let _ = timeout(WHOLE, converse(stream, app)).await;
                    drop(place);
                });
            }
            // Out of file descriptors, or a client that was gone before it was taken.
            Err(error) => {
                tracing::debug!(%error, "Cannot take a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers one request of our own for `path`. Afterwards this thread has everything that an answer needs of it: thread-local
/// values, which it could not make while another thread loads a library (glibc's `dl_load_lock`).
pub async fn rehearse(app: Router, path: &str) {
    let (mut ours, theirs) = tokio::io::duplex(HEAD);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    );
    let ask = async {
        // It cannot fail between two ends that are both here.
        let _ = ours.write_all(request.as_bytes()).await;
        let _ = tokio::io::copy(&mut ours, &mut tokio::io::sink()).await;
    };
    let _ = tokio::join!(ask, converse(theirs, app));
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, app: Router) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .await
}
