//! The metrics of the ledger.

use super::ledger::{BUCKETS, Durations, Failure, Ledger, Phase};
use crate::runtime::catalogue::{MetricType, Row, Series, histogram};

/// Every metric of the ledger. `vdi_sessions_total` is a gauge with the name of a counter and a help text without a full
/// stop. Both are kept for existing dashboards, which used the metric before this product exposed it.
pub const ROWS: &[Row<Ledger>] = &[
    Row {
        name: "vdi_sessions_total",
        help: "Total VDI sessions by phase",
        kind: MetricType::GAUGE,
        labels: &["phase"],
        series: phases,
    },
    Row {
        name: "vdi_session_duration_seconds",
        help: "Time from the start of a session to its end, in seconds. Each session is observed once, at its end.",
        kind: MetricType::HISTOGRAM,
        labels: &["template"],
        series: durations,
    },
    Row {
        name: "vdi_session_failures_total",
        help: "Sessions that ended in failure, by reason.",
        kind: MetricType::COUNTER,
        labels: &["template", "reason"],
        series: failures,
    },
];

fn phases(ledger: &Ledger) -> Vec<Series<'_>> {
    let series = |phase: Phase| {
        let count = ledger.in_phase(phase)?;
        Some(Series::number([phase.as_str()], number(count as u64)))
    };
    Phase::ALL.into_iter().filter_map(series).collect()
}

fn durations(ledger: &Ledger) -> Vec<Series<'_>> {
    let series = ledger.totals().iter().map(|(template, totals)| {
        let Durations { buckets, count, sum } = totals.durations;
        Series::histogram([template], histogram(BUCKETS.into_iter().zip(buckets), count, sum))
    });
    series.collect()
}

fn failures(ledger: &Ledger) -> Vec<Series<'_>> {
    let series = ledger.totals().iter().flat_map(|(template, totals)| {
        Failure::ALL.map(|failure| {
            let count = totals.failures.get(&failure).copied().unwrap_or(0);
            Series::number([template, failure.as_str()], number(count))
        })
    });
    series.collect()
}

#[expect(clippy::cast_precision_loss, reason = "no cluster has 2^52 sessions")]
fn number(count: u64) -> f64 {
    count as f64
}
