//! Counters that only grow while the program runs: what each device did, and which calls failed. Pure: time is an argument.
//! No counter falls or jumps, even if the driver returns wrong values.

mod account;
mod integral;
mod reading;
mod tally;
mod totals;
mod values;

pub use self::{
    account::{Account, NewestSamples},
    reading::DeviceReading,
    totals::CallTotals,
    values::{Clamp, DeviceScopes, ScopedValues},
};

#[cfg(test)]
mod tests;
