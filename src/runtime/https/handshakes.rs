//! TLS handshakes on a thread of their own. A handshake costs a hundred times the CPU time of a review on an open connection, so a
//! flood of handshakes can use one CPU at most.

use std::{io, sync::Arc};

use rustls::ServerConfig;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::oneshot,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::metrics::HttpsListener;

/// The thread of a listener that performs its handshakes. The thread ends when this value is dropped.
#[derive(Debug)]
pub(super) struct Handshakes {
    runtime: Handle,
    _end: oneshot::Sender<()>,
}

// === impl Handshakes ===

impl Handshakes {
    /// Starts the thread.
    ///
    /// # Errors
    /// Fails if the system has no resources for a thread.
    pub(super) fn start(listener: HttpsListener) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new().name(format!("{}-tls", listener.as_str())).spawn(move || {
            // An error means that the sender is dropped, which is the request to end.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { runtime: handle, _end: end })
    }

    /// Performs a handshake. It ends early if the future is dropped.
    ///
    /// # Errors
    /// Fails if the client does not speak TLS, or has no acceptable certificate where one is required.
    pub(super) async fn perform(
        &self,
        tls: Arc<ServerConfig>,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let accept = TlsAcceptor::from(tls).accept(stream);
        let (mut result, receiver) = oneshot::channel();
        self.runtime.spawn(async move {
            tokio::select! {
                accepted = accept => drop(result.send(accepted)),
                () = result.closed() => {}
            }
        });
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the handshake was cancelled")))
    }
}
