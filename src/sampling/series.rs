//! Series of the metrics that the sidecar and the node agent have in common. Pure.

use super::bounds::Clamp;
use crate::{gpu::Fault, runtime::catalogue::Series};

/// A series for each failed call, with the labels `call` and `code`.
#[must_use]
pub fn faults(faults: &[(Fault, u64)]) -> Vec<Series<'_>> {
    let series = |(fault, count): &(Fault, u64)| {
        Series::number([fault.call.as_str(), fault.code.as_str()], *count as f64)
    };
    faults.iter().map(series).collect()
}

/// A series for each kind of a value out of range, with the label `value`.
#[must_use]
pub fn clamps(clamped: &[(Clamp, u64)]) -> Vec<Series<'_>> {
    let series = |(clamp, count): &(Clamp, u64)| Series::number([clamp.as_str()], *count as f64);
    clamped.iter().map(series).collect()
}
