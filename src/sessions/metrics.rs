//! The metrics of the ledger.

use std::collections::BTreeMap;

use super::{
    ledger::{
        BUCKETS, EndReason, Ledger, MEMORY_BUCKETS, Observations, PendingReason, Phase, RestartReason,
        STARTUP_BUCKETS, SessionTotals, Stage, UsageTotals,
    },
    usage::{MissingReason, Usage},
};
use crate::{
    contract::termination::IDLE_REASONS,
    runtime::catalogue::{Histogram, MetricType, Row, Series, histogram},
};

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
        name: "vdi_sessions",
        help: "Sessions whose pod exists, by phase.",
        kind: MetricType::GAUGE,
        labels: &["template", "pool", "phase"],
        series: phases_by_pair,
    },
    Row {
        name: "vdi_sessions_pending",
        help: "Pending sessions, by the reason for which no desktop runs yet.",
        kind: MetricType::GAUGE,
        labels: &["template", "reason"],
        series: pending,
    },
    Row {
        name: "vdi_sessions_with_old_configuration",
        help: "Sessions that have not ended and whose sidecar was injected by another configuration or version than the active one.",
        kind: MetricType::GAUGE,
        labels: &["template"],
        series: with_old_configuration,
    },
    Row {
        name: "vdi_session_startup_seconds",
        help: "Time from the creation of a pod to a stage of its start, in seconds.",
        kind: MetricType::HISTOGRAM,
        labels: &["template", "stage"],
        series: startup,
    },
    Row {
        name: "vdi_session_duration_seconds",
        help: "Time from the start of a session to its end, in seconds. Each session is observed once, at its end.",
        kind: MetricType::HISTOGRAM,
        labels: &["template"],
        series: durations,
    },
    Row {
        name: "vdi_session_ended_total",
        help: "Sessions that ended, by reason. Each session is counted once.",
        kind: MetricType::COUNTER,
        labels: &["template", "reason"],
        series: ended,
    },
    Row {
        name: "vdi_session_failures_total",
        help: "Sessions that ended in failure, by reason.",
        kind: MetricType::COUNTER,
        labels: &["template", "reason"],
        series: failures,
    },
    Row {
        name: "vdi_session_restarts_total",
        help: "Restarts of desktop containers inside a living pod, by reason.",
        kind: MetricType::COUNTER,
        labels: &["template", "reason"],
        series: restarts,
    },
    Row {
        name: "vdi_session_sidecar_restarts_total",
        help: "Restarts of the sidecar inside a living pod, by reason.",
        kind: MetricType::COUNTER,
        labels: &["template", "reason"],
        series: sidecar_restarts,
    },
    Row {
        name: "vdi_session_last_words_missing_total",
        help: "Runs of the sidecar whose totals are not known, by reason. Counted at the end of the session.",
        kind: MetricType::COUNTER,
        labels: &["template", "reason"],
        series: missing,
    },
    Row {
        name: "vdi_sessions_gpu_allocated_seconds_total",
        help: "Seconds for which GPUs were allocated to sessions that have ended, busy or idle. Each GPU counts by itself.",
        kind: MetricType::COUNTER,
        labels: &["template", "pool"],
        series: |ledger| usage(ledger, |usage| number(usage.allocated)),
    },
    Row {
        name: "vdi_sessions_gpu_busy_seconds_total",
        help: "Seconds in which GPUs were busy for sessions that have ended.",
        kind: MetricType::COUNTER,
        labels: &["template", "pool"],
        series: |ledger| usage(ledger, |usage| number(usage.busy_tenths) / 10.0),
    },
    Row {
        name: "vdi_sessions_gpu_unsampled_seconds_total",
        help: "Allocated seconds of sessions that have ended of which it is unknown whether the GPU was busy.",
        kind: MetricType::COUNTER,
        labels: &["template", "pool"],
        series: |ledger| usage(ledger, |usage| number(usage.unsampled)),
    },
    Row {
        name: "vdi_sessions_gpu_idle_allocated_seconds_total",
        help: "Allocated seconds of sessions that have ended in which no viewer used the GPU, by reason.",
        kind: MetricType::COUNTER,
        labels: &["template", "pool", "reason"],
        series: idle,
    },
    Row {
        name: "vdi_sessions_gpu_energy_joules_total",
        help: "Energy in joules that is attributed to sessions that have ended.",
        kind: MetricType::COUNTER,
        labels: &["template", "pool"],
        series: |ledger| usage(ledger, |usage| number(usage.joules)),
    },
    Row {
        name: "vdi_sessions_gpu_memory_peak_bytes",
        help: "Maximum bytes of GPU memory that a session used, over all its GPUs. Each session is observed once, at its end.",
        kind: MetricType::HISTOGRAM,
        labels: &["template", "pool"],
        series: peaks,
    },
    Row {
        name: "vdi_sessions_connected_seconds_total",
        help: "Seconds in which at least one viewer was connected to a session that has ended.",
        kind: MetricType::COUNTER,
        labels: &["template", "pool"],
        series: |ledger| usage(ledger, |usage| number(usage.connected)),
    },
    Row {
        name: "vdi_sessions_stream_transmit_bytes_total",
        help: "Bytes to the viewers of sessions that have ended.",
        kind: MetricType::COUNTER,
        labels: &["template", "pool"],
        series: |ledger| usage(ledger, |usage| number(usage.transmitted)),
    },
    Row {
        name: "vdi_sessions_stream_receive_bytes_total",
        help: "Bytes from the viewers of sessions that have ended.",
        kind: MetricType::COUNTER,
        labels: &["template", "pool"],
        series: |ledger| usage(ledger, |usage| number(usage.received)),
    },
    Row {
        name: "vdi_metrics_ledger_gap_sessions_total",
        help: "Sessions that ended without an event, while no replica watched or without their label. They end with the reason unknown.",
        kind: MetricType::COUNTER,
        labels: &[],
        series: gaps,
    },
];

fn phases(ledger: &Ledger) -> Vec<Series<'_>> {
    let counts = ledger.phases().into_iter().flatten();
    counts.map(|(phase, count)| Series::number([phase.as_str()], number(count))).collect()
}

fn phases_by_pair(ledger: &Ledger) -> Vec<Series<'_>> {
    let pairs = ledger.phases_by_pair().into_iter();
    let series = pairs.flat_map(|((template, pool), counts)| {
        Phase::ALL.map(|phase| {
            let count = counts.get(&phase).copied().unwrap_or(0);
            Series::number([template, pool, phase.as_str()], number(count))
        })
    });
    series.collect()
}

fn pending(ledger: &Ledger) -> Vec<Series<'_>> {
    let counts = ledger.pending();
    by_reason(ledger, &PendingReason::ALL, PendingReason::as_str, |template, _, reason| {
        counts.get(&(template, reason)).copied()
    })
}

fn with_old_configuration(ledger: &Ledger) -> Vec<Series<'_>> {
    let counts = ledger.with_old_configuration().into_iter();
    counts.map(|(template, count)| Series::number([template], number(count))).collect()
}

fn startup(ledger: &Ledger) -> Vec<Series<'_>> {
    let series = ledger.totals().flat_map(|(template, totals)| {
        Stage::ALL.map(|stage| {
            let observed = totals.startup.get(&stage).map(|seconds| buckets(&STARTUP_BUCKETS, seconds));
            let observed = observed.unwrap_or_else(|| buckets(&STARTUP_BUCKETS, &Observations::default()));
            Series::histogram([template, stage.as_str()], observed)
        })
    });
    series.collect()
}

fn durations(ledger: &Ledger) -> Vec<Series<'_>> {
    let series = ledger
        .totals()
        .map(|(template, totals)| Series::histogram([template], buckets(&BUCKETS, &totals.durations)));
    series.collect()
}

fn ended(ledger: &Ledger) -> Vec<Series<'_>> {
    counted_by_reason(ledger, &EndReason::ALL, EndReason::as_str, |totals| &totals.ended)
}

fn failures(ledger: &Ledger) -> Vec<Series<'_>> {
    let reasons: Vec<_> = EndReason::ALL.into_iter().filter(|reason| reason.is_failure()).collect();
    counted_by_reason(ledger, &reasons, EndReason::as_str, |totals| &totals.ended)
}

fn restarts(ledger: &Ledger) -> Vec<Series<'_>> {
    counted_by_reason(ledger, &RestartReason::ALL, RestartReason::as_str, |totals| &totals.restarts)
}

fn sidecar_restarts(ledger: &Ledger) -> Vec<Series<'_>> {
    counted_by_reason(ledger, &RestartReason::ALL, RestartReason::as_str, |totals| &totals.sidecar_restarts)
}

fn missing(ledger: &Ledger) -> Vec<Series<'_>> {
    counted_by_reason(ledger, &MissingReason::ALL, MissingReason::as_str, |totals| &totals.missing)
}

fn usage(ledger: &Ledger, value: fn(&Usage) -> f64) -> Vec<Series<'_>> {
    let series = |((template, pool), totals): (_, &UsageTotals)| {
        Series::number([template, pool], value(&totals.usage))
    };
    ledger.usage().map(series).collect()
}

fn idle(ledger: &Ledger) -> Vec<Series<'_>> {
    let series = ledger.usage().flat_map(|((template, pool), totals)| {
        let series = |(reason, seconds)| Series::number([template, pool, reason], number(seconds));
        IDLE_REASONS.into_iter().zip(totals.usage.idle).map(series).collect::<Vec<_>>()
    });
    series.collect()
}

fn peaks(ledger: &Ledger) -> Vec<Series<'_>> {
    let series = |((template, pool), totals): (_, &UsageTotals)| {
        Series::histogram([template, pool], buckets(&MEMORY_BUCKETS, &totals.peaks))
    };
    ledger.usage().map(series).collect()
}

/// No series while this replica does not lead.
fn gaps(ledger: &Ledger) -> Vec<Series<'_>> {
    ledger.phases().map(|_| Series::number([], number(ledger.in_gaps()))).into_iter().collect()
}

/// A series for each template and reason, from the totals of the template.
fn counted_by_reason<'s, R: Copy + Ord>(
    ledger: &'s Ledger,
    reasons: &[R],
    text: fn(R) -> &'static str,
    counts: fn(&SessionTotals) -> &BTreeMap<R, u64>,
) -> Vec<Series<'s>> {
    by_reason(ledger, reasons, text, |_, totals, reason| counts(totals).get(&reason).copied())
}

/// A series for each template and reason; an absent count is 0.
fn by_reason<'s, R: Copy>(
    ledger: &'s Ledger,
    reasons: &[R],
    text: fn(R) -> &'static str,
    count: impl Fn(&'s str, &'s SessionTotals, R) -> Option<u64>,
) -> Vec<Series<'s>> {
    let series = ledger.totals().flat_map(|(template, totals)| {
        let series = |reason| {
            Series::number([template, text(reason)], number(count(template, totals, reason).unwrap_or(0)))
        };
        reasons.iter().copied().map(series).collect::<Vec<_>>()
    });
    series.collect()
}

fn buckets<const N: usize>(bounds: &[f64; N], observed: &Observations<N>) -> Histogram {
    histogram(bounds.iter().copied().zip(observed.buckets), observed.count, number(observed.sum))
}

#[expect(clippy::cast_precision_loss, reason = "no cluster has 2^52 sessions")]
fn number(count: u64) -> f64 {
    count as f64
}
