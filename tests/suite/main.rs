//! The hermetic suite: needs nothing but Rust. One binary, because each test crate links the library anew.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests are named by what they show, and fail by panicking"
)]

mod admission;
mod cli;
mod house;
mod invalid_input;
mod manifests;
mod policy;
mod properties;
mod reference;
mod server;
mod sessions;
mod sidecar;
