//! Metric catalogues: a table of [`Row`]s declares every metric of one source of values.
//!
//! Each scrape computes the series from plain values. So a value that does not exist any more has no stale series.

use std::borrow::Cow;

pub use prometheus::proto::{Histogram, MetricType};
use prometheus::{
    Opts,
    core::{Collector, Desc},
    proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily},
};

/// A metric family, computed from values of type `S`.
#[derive(Debug)]
pub struct Row<S: ?Sized> {
    /// Name of the metric family.
    pub name: &'static str,
    /// Help text, with the unit.
    pub help: &'static str,
    /// `COUNTER`, `GAUGE` or `HISTOGRAM`.
    pub kind: MetricType,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// Computes the series. An unknown value has no series, because a series with 0 would be wrong.
    pub series: for<'s> fn(&'s S) -> Vec<Series<'s>>,
}

/// One series of a [`Row`].
#[derive(Debug, Clone, PartialEq)]
pub struct Series<'s> {
    /// Label values, in the order of [`Row::labels`]. A label with an empty value is not exposed, because Prometheus treats an
    /// empty label like an absent one.
    pub labels: Vec<Cow<'s, str>>,
    /// The current value.
    pub value: Value,
}

/// Value of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Value of a counter or gauge.
    Number(f64),
    /// Buckets, count and sum of a histogram.
    Histogram(Histogram),
}

/// Gives a [`Catalogue`] access to the current values, for example behind a lock.
pub trait Source: Send + Sync {
    /// The values that the rows read.
    type Values: ?Sized + 'static;

    /// Calls `read` with the current values.
    fn with<R>(&self, read: impl FnOnce(&Self::Values) -> R) -> R;
}

/// A table of rows together with the source of their values. It can be registered in a `prometheus::Registry`.
#[derive(Debug)]
pub struct Catalogue<S: Source> {
    rows: &'static [Row<S::Values>],
    source: S,
    descriptions: Vec<Desc>,
}

/// The families of all rows that have at least one series. Other rows are left out, because the text encoder rejects a family
/// without series.
#[must_use]
pub fn families<S: ?Sized>(rows: &[Row<S>], source: &S) -> Vec<MetricFamily> {
    let families = rows.iter().map(|row| row.family((row.series)(source)));
    families.filter(|family| !family.get_metric().is_empty()).collect()
}

/// Builds a histogram. Each bucket is an upper bound and the number of observations in this bucket alone. `count` and `sum` are
/// those of all observations.
#[must_use]
pub fn histogram(buckets: impl IntoIterator<Item = (f64, u64)>, count: u64, sum: f64) -> Histogram {
    let cumulative = buckets.into_iter().scan(0, |total, (bound, count)| {
        *total += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(*total);
        Some(bucket)
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(cumulative.collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    histogram
}

// === impl Row ===

impl<S: ?Sized> Row<S> {
    fn family(&self, series: Vec<Series<'_>>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(series.into_iter().map(|series| self.metric(series)).collect());
        family
    }

    fn metric(&self, series: Series<'_>) -> Metric {
        debug_assert_eq!(self.labels.len(), series.labels.len(), "{}", self.name);
        let labels = self.labels.iter().zip(series.labels).filter(|(_, value)| !value.is_empty());
        let mut metric = Metric::from_label(labels.map(|(name, value)| label(name, value)).collect());
        match (series.value, self.kind) {
            (Value::Histogram(histogram), _) => metric.set_histogram(histogram),
            (Value::Number(number), MetricType::COUNTER) => {
                let mut counter = Counter::default();
                counter.set_value(number);
                metric.set_counter(counter);
            }
            (Value::Number(number), _) => {
                let mut gauge = Gauge::default();
                gauge.set_value(number);
                metric.set_gauge(gauge);
            }
        }
        metric
    }

    fn description(&self) -> prometheus::Result<Desc> {
        let labels = self.labels.iter().map(ToString::to_string).collect();
        prometheus::core::Describer::describe(&Opts::new(self.name, self.help).variable_labels(labels))
    }
}

fn label(name: &str, value: Cow<'_, str>) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.into_owned());
    label
}

// === impl Series ===

impl<'s> Series<'s> {
    /// A counter or gauge with these label values.
    pub fn number<const N: usize>(labels: [&'s str; N], number: f64) -> Self {
        Self { labels: labels.map(Cow::Borrowed).to_vec(), value: Value::Number(number) }
    }

    /// A histogram with these label values.
    pub fn histogram<const N: usize>(labels: [&'s str; N], histogram: Histogram) -> Self {
        Self { labels: labels.map(Cow::Borrowed).to_vec(), value: Value::Histogram(histogram) }
    }
}

// === impl Catalogue ===

impl<S: Source> Catalogue<S> {
    /// Creates a catalogue from rows and their source.
    ///
    /// # Errors
    /// Fails if the name or a label of a row is not valid in Prometheus.
    pub fn new(rows: &'static [Row<S::Values>], source: S) -> prometheus::Result<Self> {
        let descriptions = rows.iter().map(Row::description).collect::<Result<_, _>>()?;
        Ok(Self { rows, source, descriptions })
    }
}

impl<S: Source> Collector for Catalogue<S> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.source.with(|values| families(self.rows, values))
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, Registry, TextEncoder};

    use super::*;

    /// A source with two numbers of sold items.
    struct Shop;

    impl Source for Shop {
        type Values = [u32];

        fn with<R>(&self, read: impl FnOnce(&[u32]) -> R) -> R {
            read(&[3, 4])
        }
    }

    const ROWS: &[Row<[u32]>] = &[
        Row {
            name: "sold_total",
            help: "Items sold.",
            kind: MetricType::COUNTER,
            labels: &["item", "colour"],
            series: |sold| vec![Series::number(["pen", ""], sold[0].into())],
        },
        Row {
            name: "unknown",
            help: "A value that is always absent.",
            kind: MetricType::GAUGE,
            labels: &[],
            series: |_| vec![],
        },
        Row {
            name: "prices",
            help: "Prices.",
            kind: MetricType::HISTOGRAM,
            labels: &[],
            series: |_| vec![Series::histogram([], histogram([(1.0, 1), (5.0, 2)], 4, 20.0))],
        },
    ];

    #[test]
    fn rows_without_series_and_labels_without_value_are_not_exposed() {
        let registry = Registry::new();
        registry.register(Box::new(Catalogue::new(ROWS, Shop).unwrap())).unwrap();
        let mut text = vec![];
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("sold_total{item=\"pen\"} 3\n"), "{text}");
        assert!(!text.contains("unknown"), "{text}");
        assert!(
            text.contains("prices_bucket{le=\"5\"} 3\nprices_bucket{le=\"+Inf\"} 4\nprices_sum 20"),
            "{text}"
        );
    }
}
