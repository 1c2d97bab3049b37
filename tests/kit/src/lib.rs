//! What the test suites and the benchmarks share.

pub mod answer;
pub mod cluster;
pub mod desktop;
pub mod exposition;
pub mod http;
pub mod pod_defaults;
pub mod process;
pub mod product_images;
pub mod random_pods;
pub mod tls;

pub use tempfile;
