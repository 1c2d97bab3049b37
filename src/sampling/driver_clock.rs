//! The clock of the driver's samples.

use crate::runtime::{clock, libc};

/// The present times of the clocks that a driver may use for its samples, in microseconds. `newest` is the time of the device's newest
/// sample. Without one, the clock is unknown: the wall clock, or the time since the start of the node.
#[must_use]
pub fn clocks(newest: Option<u64>) -> [u64; 2] {
    let possible = || [clock::unix_now(), libc::since_boot()].map(|time| time.as_micros() as u64);
    newest.map_or_else(possible, |now| [now; 2])
}
