//! What the suites share.

pub mod cluster;
pub mod desktop;
pub mod exposition;
pub mod http;
pub mod process;
pub mod tls;

pub use tempfile;
