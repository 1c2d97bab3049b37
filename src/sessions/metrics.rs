//! The families that show the ledger, made afresh for each scrape.

use prometheus::{
    Opts,
    core::{Collector, Desc, Describer},
    proto::{MetricFamily, MetricType},
};

use super::{
    Sessions,
    ledger::{BUCKETS, Durations, Failure, Ledger, Phase},
};
use crate::runtime::family::{Series, Shows, family};

/// Reads the ledger at scrape time.
#[derive(Debug)]
pub(super) struct Families {
    sessions: Sessions,
    descriptions: Vec<Desc>,
}

/// One metric of the ledger.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// One sentence, unit included.
    pub help: &'static str,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// `GAUGE`, `COUNTER` or `HISTOGRAM`.
    pub kind: MetricType,
    series: for<'l> fn(&'l Ledger) -> Vec<Series<'l>>,
}

/// Everything that the ledger shows. `vdi_sessions_total` is a gauge with a counter's name and a help without full stop,
/// both kept for those who used it before.
pub const FAMILIES: [Family; 3] = [
    Family {
        name: "vdi_sessions_total",
        help: "Total VDI sessions by phase",
        labels: &["phase"],
        kind: MetricType::GAUGE,
        series: phases,
    },
    Family {
        name: "vdi_session_duration_seconds",
        help: "Time from a session's start to its end, observed once when it ends.",
        labels: &["template"],
        kind: MetricType::HISTOGRAM,
        series: durations,
    },
    Family {
        name: "vdi_session_failures_total",
        help: "Sessions that ended in failure, by reason.",
        labels: &["template", "reason"],
        kind: MetricType::COUNTER,
        series: failures,
    },
];

fn phases(ledger: &Ledger) -> Vec<Series<'_>> {
    let series = |phase: Phase| {
        let count = number(ledger.in_phase(phase)? as u64);
        Some(Series { labels: vec![("phase", phase.as_str())], shows: Shows::Number(count) })
    };
    Phase::ALL.into_iter().filter_map(series).collect()
}

fn durations(ledger: &Ledger) -> Vec<Series<'_>> {
    let series = ledger.totals().iter().map(|(template, totals)| {
        let Durations { buckets, count, sum } = totals.durations;
        let buckets = BUCKETS.into_iter().zip(buckets).collect();
        Series { labels: vec![("template", template)], shows: Shows::Histogram { buckets, count, sum } }
    });
    series.collect()
}

fn failures(ledger: &Ledger) -> Vec<Series<'_>> {
    let series = ledger.totals().iter().flat_map(|(template, totals)| {
        Failure::ALL.map(|failure| Series {
            labels: vec![("template", template.as_str()), ("reason", failure.as_str())],
            shows: Shows::Number(number(totals.failures.get(&failure).copied().unwrap_or(0))),
        })
    });
    series.collect()
}

#[expect(clippy::cast_precision_loss, reason = "no cluster has 2^52 sessions")]
fn number(count: u64) -> f64 {
    count as f64
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
        FAMILIES.iter().map(|row| family(row.name, row.help, row.kind, (row.series)(&ledger))).collect()
    }
}
