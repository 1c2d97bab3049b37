//! The request to stop counting.

use tokio::sync::watch;

/// The program's request to stop. Clones refer to the same request.
#[derive(Clone, Debug)]
pub struct StopRequest(watch::Receiver<bool>);

/// Requests the stop.
#[derive(Debug)]
pub struct StopSender(watch::Sender<bool>);

/// A request that is not sent yet.
#[must_use]
pub fn stop_request() -> (StopSender, StopRequest) {
    let (sender, receiver) = watch::channel(false);
    (StopSender(sender), StopRequest(receiver))
}

// === impl StopSender ===

impl StopSender {
    /// Sends the request. Returns when every receiver has stopped, that is, was dropped.
    pub async fn stop(self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

// === impl StopRequest ===

impl StopRequest {
    /// Waits for the request, or until the sender was dropped.
    pub(super) async fn requested(&mut self) {
        // An error means that the sender was dropped.
        _ = self.0.wait_for(|is_requested| *is_requested).await;
    }
}
