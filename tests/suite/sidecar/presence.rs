//! The connections of a desktop: a real sidecar in a network namespace with real listeners and viewers.

mod desktop_pod;
mod idle;
mod other_connections;
mod quality;
mod sources;
mod viewers;
