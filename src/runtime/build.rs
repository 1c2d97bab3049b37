//! Version and source revision of this build.

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Source revision of this build; `unknown` if the build did not set `VDI_METRICS_REVISION`.
pub const REVISION: &str = match option_env!("VDI_METRICS_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
