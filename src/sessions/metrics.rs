//! The families that show the ledger, made afresh for each scrape.

use prometheus::{
    Opts,
    core::{Collector, Desc, Describer},
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use super::{
    Sessions,
    ledger::{BUCKETS, Durations, Failure, Ledger, Phase},
};

/// Reads the ledger at scrape time.
#[derive(Debug)]
pub(super) struct Families {
    sessions: Sessions,
    descriptions: Vec<Desc>,
}

struct Family {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    kind: MetricType,
    metrics: fn(&Ledger) -> Vec<Metric>,
}

/// `vdi_sessions_total` is a gauge with a counter's name, kept for those who used it before.
const FAMILIES: [Family; 3] = [
    Family {
        name: "vdi_sessions_total",
        help: "Total VDI sessions by phase",
        labels: &["phase"],
        kind: MetricType::GAUGE,
        metrics: phases,
    },
    Family {
        name: "vdi_session_duration_seconds",
        help: "Time from a session's start to its end, observed once when it ends",
        labels: &["template"],
        kind: MetricType::HISTOGRAM,
        metrics: durations,
    },
    Family {
        name: "vdi_session_failures_total",
        help: "Sessions that ended in failure, by reason",
        labels: &["template", "reason"],
        kind: MetricType::COUNTER,
        metrics: failures,
    },
];

#[expect(clippy::cast_precision_loss, reason = "no cluster has 2^52 sessions")]
fn phases(ledger: &Ledger) -> Vec<Metric> {
    let metric = |phase: Phase| {
        let mut gauge = Gauge::default();
        gauge.set_value(ledger.in_phase(phase) as f64);
        let mut metric = labelled([("phase", phase.as_str())]);
        metric.set_gauge(gauge);
        metric
    };
    Phase::ALL.into_iter().map(metric).collect()
}

fn durations(ledger: &Ledger) -> Vec<Metric> {
    let metric = |(template, totals): (&String, &super::ledger::Totals)| {
        let mut metric = labelled([("template", template)]);
        metric.set_histogram(histogram(&totals.durations));
        metric
    };
    ledger.totals().iter().map(metric).collect()
}

fn histogram(durations: &Durations) -> Histogram {
    let cumulative = durations.buckets.iter().scan(0, |sum, count| {
        *sum += count;
        Some(*sum)
    });
    let bucket = |(count, bound)| {
        let mut bucket = Bucket::default();
        bucket.set_cumulative_count(count);
        bucket.set_upper_bound(bound);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(cumulative.zip(BUCKETS).map(bucket).collect());
    histogram.set_sample_count(durations.count);
    histogram.set_sample_sum(durations.sum);
    histogram
}

#[expect(clippy::cast_precision_loss, reason = "no cluster has 2^52 sessions")]
fn failures(ledger: &Ledger) -> Vec<Metric> {
    let metric = |template: &str, failure: Failure, count: u64| {
        let mut counter = Counter::default();
        counter.set_value(count as f64);
        let mut metric = labelled([("template", template), ("reason", failure.as_str())]);
        metric.set_counter(counter);
        metric
    };
    let of =
        |failures: &std::collections::BTreeMap<_, _>, failure| failures.get(&failure).copied().unwrap_or(0);
    let all = ledger.totals().iter().flat_map(|(template, totals)| {
        Failure::ALL.map(|failure| metric(template, failure, of(&totals.failures, failure)))
    });
    all.collect()
}

fn labelled<const N: usize>(labels: [(&str, &str); N]) -> Metric {
    let pair = |(name, value): (&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    Metric::from_label(labels.map(pair).into())
}

// === impl Families ===

impl Families {
    pub(super) fn new(sessions: Sessions) -> prometheus::Result<Self> {
        let describe = |family: &Family| {
            let labels = family.labels.iter().map(ToString::to_string).collect();
            Opts::new(family.name, family.help).variable_labels(labels).describe()
        };
        Ok(Self { sessions, descriptions: FAMILIES.iter().map(describe).collect::<Result<_, _>>()? })
    }
}

impl Collector for Families {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let ledger = self.sessions.ledger();
        let family = |row: &Family| {
            let mut family = MetricFamily::default();
            family.set_name(row.name.to_owned());
            family.set_help(row.help.to_owned());
            family.set_field_type(row.kind);
            family.set_metric((row.metrics)(&ledger));
            family
        };
        FAMILIES.iter().map(family).collect()
    }
}
