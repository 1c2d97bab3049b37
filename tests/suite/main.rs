//! The hermetic suite: needs nothing but Rust. One binary, because each test crate links the library anew.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests are named by what they show, and fail by panicking"
)]

mod admission;
mod algebra;
mod cli;
mod hostile;
mod house;
mod manifests;
mod policy;
mod reference;
mod server;
mod sidecar;
