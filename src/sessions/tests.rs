//! Tests from pods, as the API server sends them, to the metrics.

mod endings;
mod failovers;
mod interruptions;
mod lifecycle;
mod lives;
mod names;
mod pods;
mod progress;
mod properties;
mod stories;
mod watch;
