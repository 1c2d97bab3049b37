//! Catalogue x snapshot -> families, made afresh for each scrape: a GPU that is gone leaves no stale series, and two
//! scrapes cannot race.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::{
    catalogue::{CATALOGUE, Row, Value},
    snapshot::Snapshot,
};

/// Every metric that has a value. The encoder refuses a family without series.
pub(super) fn families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    CATALOGUE
        .iter()
        .map(|row| family(row, snapshot))
        .filter(|family| !family.get_metric().is_empty())
        .collect()
}

fn family(row: &Row, snapshot: &Snapshot) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(row.name.to_owned());
    family.set_help(row.help.to_owned());
    family.set_field_type(row.kind);
    family.set_metric((row.values)(snapshot).into_iter().map(|value| metric(row, &value)).collect());
    family
}

fn metric(row: &Row, value: &Value<'_>) -> Metric {
    debug_assert_eq!(row.labels.len(), value.labels.len(), "{}", row.name);
    let labels = row.labels.iter().zip(&value.labels).filter(|(_, value)| !value.is_empty());
    let mut metric = Metric::from_label(labels.map(|(name, value)| label(name, value)).collect());
    match row.kind {
        MetricType::COUNTER => {
            let mut counter = Counter::default();
            counter.set_value(value.number);
            metric.set_counter(counter);
        }
        _ => {
            let mut gauge = Gauge::default();
            gauge.set_value(value.number);
            metric.set_gauge(gauge);
        }
    }
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}
