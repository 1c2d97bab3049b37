//! The request to shut down. Every task receives it as a value.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// The request to shut down. [`Self::requested`] waits for it. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Waits for SIGTERM or SIGINT in the background and then requests the shutdown. Calls `second` at the second signal; later
/// signals have no effect.
///
/// # Errors
/// Fails if the signal handlers cannot be installed.
pub fn on_signal(second: fn()) -> io::Result<Shutdown> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (request, shutdown) = watch::channel(false);
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
        let signal = next().await;
        tracing::info!(signal, "Shutting down");
        request.send_replace(true);
        next().await;
        second();
    });
    Ok(Shutdown(shutdown))
}

// === impl Shutdown ===

impl Shutdown {
    /// Waits for the request to shut down.
    pub async fn requested(&self) {
        let mut requested = self.0.clone();
        // An error means that the signal task has ended. That happens only when the runtime ends.
        let _ = requested.wait_for(|requested| *requested).await;
    }
}
