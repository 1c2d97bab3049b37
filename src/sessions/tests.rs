//! Tests from pods, as the API server sends them, to the metrics.

mod endings;
mod interruptions;
mod lifecycle;
mod names;
mod pods;
mod progress;
mod properties;
mod stories;
mod watch;
