//! The clock of the driver's samples.

use crate::runtime::{clock, libc};

/// The present times of the clocks that a driver uses for its samples, in microseconds: the wall clock, or the time since the start
/// of the node.
#[must_use]
pub fn possible_clocks() -> [u64; 2] {
    [clock::unix_now(), libc::since_boot()].map(|time| time.as_micros() as u64)
}
