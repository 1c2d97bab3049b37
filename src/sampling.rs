//! Polls GPUs and adds up what they do, for the sidecar and for a node agent. This module does not depend on sessions or pods.
//!
//! `poll` contains the loop; the program that uses the loop reads the driver. `bounds`, `counters`, `processes`, `series` and `streams` are pure.

pub mod bounds;
pub mod counters;
pub mod driver_clock;
pub mod observation;
pub mod poll;
pub mod processes;
pub mod report;
pub mod scope;
pub mod series;
pub mod sharing;
pub mod streams;
