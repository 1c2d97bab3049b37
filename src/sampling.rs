//! Sampling of GPUs, for the sidecar and for a node agent. Nothing here depends on a session or a pod.
//!
//! `poll` runs the loop; its caller reads the driver. `counters` and `processes` are pure.

pub mod counters;
pub mod observation;
pub mod poll;
pub mod processes;
pub mod scope;
