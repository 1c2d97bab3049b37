//! Sampling of GPUs: what the sidecar and a node agent share. It knows no session.

pub mod counters;
pub mod processes;
pub mod scope;
