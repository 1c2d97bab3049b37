//! One family of an exposition, made afresh from plain values: what is gone leaves no stale series, and two scrapes cannot
//! race.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series<'a> {
    /// Labels; one without value is left out, which Prometheus takes for the same thing.
    pub labels: Vec<(&'a str, &'a str)>,
    /// What it shows.
    pub shows: Shows,
}

/// What a series shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Shows {
    /// The value of a gauge or counter.
    Number(f64),
    /// A histogram.
    Histogram {
        /// Upper bounds, each with the observations in its bucket alone.
        buckets: Vec<(f64, u64)>,
        /// Number of all observations.
        count: u64,
        /// Sum of all observations.
        sum: f64,
    },
}

/// The family of these series.
pub fn family<'a>(
    name: &str,
    help: &str,
    kind: MetricType,
    series: impl IntoIterator<Item = Series<'a>>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(series.into_iter().map(|series| metric(kind, series)).collect());
    family
}

fn metric(kind: MetricType, series: Series<'_>) -> Metric {
    let labels = series.labels.into_iter().filter(|(_, value)| !value.is_empty());
    let mut metric = Metric::from_label(labels.map(|(name, value)| label(name, value)).collect());
    match (series.shows, kind) {
        (Shows::Histogram { buckets, count, sum }, _) => metric.set_histogram(histogram(buckets, count, sum)),
        (Shows::Number(number), MetricType::COUNTER) => {
            let mut counter = Counter::default();
            counter.set_value(number);
            metric.set_counter(counter);
        }
        (Shows::Number(number), _) => {
            let mut gauge = Gauge::default();
            gauge.set_value(number);
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

fn histogram(buckets: Vec<(f64, u64)>, count: u64, sum: f64) -> Histogram {
    let cumulative = buckets.into_iter().scan(0, |below, (bound, count)| {
        *below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(*below);
        Some(bucket)
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(cumulative.collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    histogram
}
