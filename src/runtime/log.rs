//! Logs: one line per event on standard error, with fields instead of interpolated values.

use std::{
    error::Error,
    fmt,
    io::IsTerminal,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

pub use tracing::Level;

/// Formats an error together with its sources: `cannot listen on [::]:80: Permission denied`.
#[derive(Debug)]
pub struct Chain<'e>(pub &'e (dyn Error + 'static));

/// An error that can occur at every poll or request. The log shows its begin and its end, and not each time.
#[derive(Debug)]
pub struct OngoingError {
    /// What fails, and its effect.
    message: &'static str,
    is_failing: AtomicBool,
}

/// Libraries that log each connection, frame and request: 13 lines for each list of the kubelet at the level `debug`.
const PROTOCOLS: [&str; 4] = ["h2", "hyper_util", "tonic", "tower::buffer"];

/// Writes log events of `level` and above to standard error. Events of libraries are written from `warn` upwards; if `level` is
/// `debug` or `trace`, from `level` upwards. The reason: a client library that retries logs the same event every second. Events of
/// the libraries for HTTP/2 and gRPC are always written from `warn` upwards.
pub fn init(level: Level) {
    use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

    let libraries = if level > Level::INFO { level } else { level.min(Level::WARN) };
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let protocols = PROTOCOLS.map(|library| (library, level.min(Level::WARN)));
    let filter = Targets::new()
        .with_default(libraries)
        .with_targets(protocols)
        .with_target("vdi_metrics", level)
        // Its warning about an answer that it cannot decode contains the answer, which can be the Secret with the server's keys.
        .with_target("kube_client", Level::ERROR);
    tracing_subscriber::registry().with(format).with(filter).init();
}

// === impl OngoingError ===

impl OngoingError {
    /// An error that has not occurred yet. `message` is what fails, and its effect.
    pub const fn new(message: &'static str) -> Self {
        Self { message, is_failing: AtomicBool::new(false) }
    }

    /// Logs the error if it has begun or ended. `error` is none if the work succeeded.
    pub fn log(&self, error: Option<&dyn fmt::Display>) {
        match (error, self.is_failing.swap(error.is_some(), Relaxed)) {
            (Some(error), false) => tracing::warn!(%error, "{}", self.message),
            (None, true) => tracing::info!("Resolved: {}", self.message),
            _ => {}
        }
    }
}

// === impl Chain ===

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut error = self.0;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}
