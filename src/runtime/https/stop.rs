//! The request to stop the HTTPS servers.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

/// Stops the servers that were started with this handle.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<watch::Sender<Option<Duration>>>);

/// Waits for the request of a [`StopHandle`].
#[derive(Clone, Debug)]
pub(super) struct Stopping(watch::Receiver<Option<Duration>>);

// === impl StopHandle ===

impl Default for StopHandle {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }
}

impl StopHandle {
    /// Stops the servers when all open requests are answered, after `timeout` at the latest.
    pub fn stop(&self, timeout: Duration) {
        self.0.send_replace(Some(timeout));
    }

    pub(super) fn stopping(&self) -> Stopping {
        Stopping(self.0.subscribe())
    }
}

// === impl Stopping ===

impl Stopping {
    /// Waits for the request. Returns the time in which open requests must end.
    pub(super) async fn requested(&mut self) -> Duration {
        match self.0.wait_for(Option::is_some).await.map(|timeout| *timeout) {
            Ok(Some(timeout)) => timeout,
            // Every handle is dropped, so the process ends.
            Ok(None) | Err(_) => Duration::ZERO,
        }
    }
}
