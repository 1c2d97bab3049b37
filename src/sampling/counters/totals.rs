//! Totals of the program: calls, failed calls and clamped values. They outlive the devices and the driver.

use super::{tally::count, values::Clamp};
use crate::gpu::Fault;

/// Totals since the program started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallTotals {
    /// Calls of the library, failed ones included.
    pub calls: u64,
    /// Failed calls by kind; at most as many kinds as there are pairs of a call and a code.
    pub faults: Vec<(Fault, u64)>,
    /// Clamped values by kind.
    pub clamped: Vec<(Clamp, u64)>,
}

// === impl CallTotals ===

impl CallTotals {
    /// Adds the calls of one poll.
    pub fn add_calls(&mut self, calls: u64, faults: &[Fault]) {
        self.calls += calls;
        faults.iter().for_each(|fault| count(&mut self.faults, *fault));
    }

    /// Adds the clamped values of one reading.
    pub fn add_clamps(&mut self, clamps: &[Clamp]) {
        clamps.iter().for_each(|clamp| count(&mut self.clamped, *clamp));
    }
}
