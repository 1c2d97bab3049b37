//! Infrastructure of all programs: logs, listeners, HTTP, readiness, shutdown, metric catalogues. Contains nothing about
//! pods or GPUs.

pub mod admin;
pub mod catalogue;
pub mod clock;
pub mod family;
pub mod http;
#[cfg(feature = "webhook")]
pub mod https;
pub mod libc;
pub mod listen;
pub mod log;
pub mod readiness;
pub mod shutdown;
pub mod vocabulary;

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Source revision of this build; `unknown` if the build did not set `VDI_METRICS_REVISION`.
pub const REVISION: &str = match option_env!("VDI_METRICS_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
