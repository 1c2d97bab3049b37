//! Logs: one line per event on standard error, fields instead of interpolation.

use std::io::IsTerminal;

pub use tracing::Level;

/// Sends events of `level` and above to standard error. Events of libraries show from `warn` on unless `level` is
/// `debug` or lower, because a retrying client says the same thing every second.
pub fn init(level: Level) {
    use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

    let others = if level > Level::INFO { level } else { level.min(Level::WARN) };
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let filter = Targets::new().with_default(others).with_target("vdi_metrics", level);
    tracing_subscriber::registry().with(format).with(filter).init();
}
