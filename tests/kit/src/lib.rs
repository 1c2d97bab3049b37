//! What the suites share.

pub mod answer;
pub mod apiserver;
pub mod cluster;
pub mod desktop;
pub mod exposition;
pub mod http;
pub mod pods;
pub mod process;
pub mod shipped;
pub mod tls;

pub use tempfile;
