//! The hermetic suite: needs nothing but Rust. It is one binary, because each test crate links the library again.

#![allow(clippy::disallowed_methods, reason = "tests have environment variables of their own")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the name of a test is its documentation, and a test fails by panicking"
)]

mod admission;
mod cli;
mod dependencies;
mod documentation;
mod invalid_input;
mod manifests;
mod node_agent;
mod policy;
mod properties;
mod reference;
mod server;
mod sessions;
mod sidecar;
mod structure;
