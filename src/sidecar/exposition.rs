//! Catalogue x snapshot -> families.

use prometheus::proto::MetricFamily;

use super::{
    catalogue::{CATALOGUE, Value},
    snapshot::Snapshot,
};
use crate::runtime::family::{Series, Shows, family};

/// Every metric that has a value. The encoder refuses a family without series.
pub(super) fn families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let families = CATALOGUE.iter().map(|row| {
        let series = (row.values)(snapshot).into_iter().map(|value| series(row.labels, value));
        family(row.name, row.help, row.kind, series)
    });
    families.filter(|family| !family.get_metric().is_empty()).collect()
}

fn series<'a>(names: &[&'static str], value: Value<'a>) -> Series<'a> {
    debug_assert_eq!(names.len(), value.labels.len(), "{names:?}");
    let labels = names.iter().copied().zip(value.labels).collect();
    Series { labels, shows: Shows::Number(value.number) }
}
