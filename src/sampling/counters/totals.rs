//! Totals of the program: calls, failed calls and values out of range. They go on when a device or the driver is lost.

use super::tally::count;
use crate::{gpu::Fault, sampling::bounds::Clamp};

/// Totals since the program started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallTotals {
    /// Calls of the library, failed ones included.
    pub calls: u64,
    /// Number of failed calls by call and code. The list is bounded: each pair occurs once.
    pub faults: Vec<(Fault, u64)>,
    /// Number of values out of range by kind.
    pub clamped: Vec<(Clamp, u64)>,
}

// === impl CallTotals ===

impl CallTotals {
    /// Adds the calls of one poll.
    pub fn add_calls(&mut self, calls: u64, faults: &[Fault]) {
        self.calls += calls;
        faults.iter().for_each(|fault| count(&mut self.faults, *fault));
    }

    /// Adds the values of one reading that were out of range.
    pub fn add_clamps(&mut self, clamps: &[Clamp]) {
        clamps.iter().for_each(|clamp| count(&mut self.clamped, *clamp));
    }
}
