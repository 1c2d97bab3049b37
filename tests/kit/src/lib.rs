//! Common code of the test suites and the benchmarks.
#![allow(clippy::disallowed_methods, reason = "tests have environment variables of their own")]

pub mod answer;
pub mod cluster;
pub mod desktop;
pub mod exposition;
pub mod http;
pub mod kubelet;
pub mod network;
pub mod node_folder;
pub mod nulls;
pub mod pod_defaults;
pub mod process;
pub mod product_images;
pub mod random_pods;
pub mod security_contexts;
pub mod tls;
pub mod vnc_desktop;

pub use tempfile;
