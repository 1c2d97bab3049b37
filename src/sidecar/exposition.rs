//! Catalogue x snapshot -> families.

use prometheus::proto::MetricFamily;

use super::{catalogue::CATALOGUE, snapshot::Snapshot};
use crate::runtime::family::{Series, Shows, family};

/// Every metric that has a value. The encoder refuses a family without series.
pub(super) fn families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let families = CATALOGUE.iter().map(|row| {
        let values = (row.values)(snapshot);
        let series = values.iter().map(|value| {
            debug_assert_eq!(row.labels.len(), value.labels.len(), "{}", row.name);
            let labels = row.labels.iter().copied().zip(value.labels.iter().map(AsRef::as_ref)).collect();
            Series { labels, shows: Shows::Number(value.number) }
        });
        family(row.name, row.help, row.kind, series)
    });
    families.filter(|family| !family.get_metric().is_empty()).collect()
}
