//! The end of the process as one value that is passed down.

use std::io;

use super::libc;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Resolves once the process was asked to end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Listens for SIGTERM and SIGINT; a second one ends the process at once with status 130, because somebody waits.
///
/// # Errors
/// Fails where the signal handlers cannot be installed.
pub fn on_signal() -> io::Result<Shutdown> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (asked, shutdown) = watch::channel(false);
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
        let signal = next().await;
        tracing::info!(signal, "Asked to end");
        asked.send_replace(true);
        next().await;
        libc::leave(130);
    });
    Ok(Shutdown(shutdown))
}

// === impl Shutdown ===

impl Shutdown {
    /// Waits for the request to end.
    pub async fn requested(&self) {
        let mut asked = self.0.clone();
        // An error means that the signal task is gone, and with it the runtime: an end as well.
        let _ = asked.wait_for(|asked| *asked).await;
    }
}
