//! HTTPS for the API server and Prometheus. Every client that reaches a port can connect, so the connections, their handshakes
//! and their times are limited. Clients share the limits fairly: the connections of strangers never displace those of the API
//! server beyond its share.

mod client_ca;
mod connections;
mod handshakes;
pub mod metrics;
mod serving;
pub mod share;
mod stop;

pub use client_ca::{ClientCa, ClientCaError};
pub use metrics::{ConnectionMetrics, HttpsListener};
pub use serving::{SharedTls, close_connections_unless_ready, serve};
pub use stop::StopHandle;
