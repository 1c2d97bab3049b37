//! Per-session GPU and lifetime metrics for virtual desktops on Kubernetes.
//!
//! Two programs use this library: `vdi-metrics`, the server and CLI (feature `webhook`), and `vdi-metrics-sidecar`, which
//! runs next to a desktop (feature `sidecar`). Their modules do not import each other; [`contract`] has the names and
//! types that both use.

pub mod contract;
pub mod runtime;

#[cfg(feature = "webhook")]
pub mod admission;
#[cfg(feature = "webhook")]
pub mod breaker;
#[cfg(feature = "webhook")]
pub mod cli;
#[cfg(feature = "webhook")]
pub mod cluster;
#[cfg(feature = "webhook")]
pub mod coverage;
#[cfg(feature = "webhook")]
pub mod limits;
#[cfg(feature = "webhook")]
pub mod metrics_access;
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

#[cfg(any(feature = "node", feature = "sidecar"))]
pub mod gpu;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "sidecar")]
pub mod presence;
#[cfg(any(feature = "node", feature = "sidecar"))]
pub mod sampling;
#[cfg(feature = "sidecar")]
pub mod sidecar;
