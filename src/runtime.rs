//! Infrastructure of all programs: logs, listeners, HTTP, readiness, shutdown, metric catalogues. This module does not depend on
//! pods or GPUs.

pub mod admin;
mod build;
pub mod catalogue;
pub mod clock;
pub mod http;
#[cfg(feature = "webhook")]
pub mod https;
pub mod libc;
pub mod listen;
pub mod log;
pub mod readiness;
pub mod shutdown;
pub mod vocabulary;

pub use build::{REVISION, VERSION};
