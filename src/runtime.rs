//! Plumbing that both programs share: logs, listening, shutdown, readiness and the admin endpoints. Nothing here
//! knows a pod or a GPU.

pub mod admin;
pub mod catalogue;
pub mod family;
pub mod http;
pub mod libc;
pub mod listen;
pub mod log;
pub mod readiness;
pub mod shutdown;
pub mod vocabulary;

/// Version of this build, as released.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Source revision of this build; `unknown` where the build did not say.
pub const REVISION: &str = match option_env!("VDI_METRICS_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
