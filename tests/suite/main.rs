//! The hermetic suite: needs nothing but Rust. One binary, because each test crate links the library anew.

#![allow(missing_docs, reason = "tests are named by what they show")]

mod admission;
mod house;
mod manifests;
mod scrape;
mod server;
