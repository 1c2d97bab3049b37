//! The connections of a desktop: a real sidecar in a network namespace with real listeners and viewers.

mod control_groups;
mod desktop_pod;
mod idle;
mod long_connections;
mod many_sockets;
mod other_connections;
mod quality;
mod restricted;
mod slow_lines;
mod sources;
mod viewers;
