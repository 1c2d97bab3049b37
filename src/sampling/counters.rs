//! Counters for the work of each device and for failed calls, since the start of the program. Pure: time is an argument. No
//! counter falls or jumps, even if the driver returns wrong values.

mod account;
mod idle;
mod integral;
mod reading;
mod sample_log;
mod tally;
mod totals;
mod values;

pub use self::{
    account::Account,
    idle::{IdleReason, IdleSeconds},
    reading::DeviceReading,
    tally::count,
    totals::CallTotals,
    values::{DeviceScopes, ScopedValues},
};

#[cfg(test)]
mod tests;
