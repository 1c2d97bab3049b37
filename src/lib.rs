//! Per-session GPU and lifetime metrics for virtual desktops on Kubernetes.
//!
//! Two programs share this library. `vdi-metrics` is the server and CLI (feature `webhook`); `vdi-metrics-sidecar`
//! runs beside a desktop (feature `sidecar`). Neither half sees the other: what both must agree on is [`contract`].

pub mod contract;
pub mod runtime;

#[cfg(feature = "webhook")]
pub mod admission;
#[cfg(feature = "webhook")]
pub mod cli;
#[cfg(feature = "webhook")]
pub mod cluster;
#[cfg(feature = "webhook")]
pub mod limits;
#[cfg(feature = "webhook")]
pub mod policy;
#[cfg(feature = "webhook")]
pub mod registration;
#[cfg(feature = "webhook")]
pub mod server;
#[cfg(feature = "webhook")]
pub mod sessions;
#[cfg(feature = "webhook")]
pub mod webhook;

#[cfg(feature = "sidecar")]
pub mod gpu;
#[cfg(feature = "sidecar")]
pub mod sampling;
#[cfg(feature = "sidecar")]
pub mod sidecar;
