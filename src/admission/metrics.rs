//! What admission says about itself.

use std::time::{Duration, SystemTime};

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

use super::{Outcome, Reason, edge};

/// From far below our cost to the 2 s after which the API server gives up.
const BUCKETS: [f64; 9] = [25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 0.5, 2.0];

/// Counters of one server.
#[derive(Debug, Clone)]
pub struct Metrics {
    decisions: IntCounterVec,
    refusals: IntCounterVec,
    duration: Histogram,
    last_request: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the families, with a series for every decision and refusal before it first happens.
    ///
    /// # Errors
    /// Where one of the names is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            decisions: IntCounterVec::new(
                Opts::new("vdi_metrics_admission_decisions_total", "Pods decided on, by outcome and reason."),
                &["outcome", "reason"],
            )?,
            refusals: IntCounterVec::new(
                Opts::new(
                    "vdi_metrics_admission_refusals_total",
                    "Requests turned away unanswered, by reason.",
                ),
                &["reason"],
            )?,
            duration: Histogram::with_opts(
                HistogramOpts::new(
                    "vdi_metrics_admission_duration_seconds",
                    "Time from a review's last byte to the answer's first; the API server waits 2 s.",
                )
                .buckets(BUCKETS.to_vec()),
            )?,
            last_request: Gauge::new(
                "vdi_metrics_admission_last_request_timestamp_seconds",
                "Unix time of the last review that was answered; 0 before the first.",
            )?,
        };
        registry.register(Box::new(metrics.decisions.clone()))?;
        registry.register(Box::new(metrics.refusals.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.last_request.clone()))?;
        for outcome in Reason::ALL.map(Outcome::Skipped).into_iter().chain([Outcome::Injected]) {
            metrics.decisions.with_label_values(&labels(outcome));
        }
        for reason in edge::REFUSALS {
            metrics.refusals.with_label_values(&[reason]);
        }
        Ok(metrics)
    }

    /// Counts one answer.
    pub(super) fn decided(&self, outcome: Outcome, took: Duration) {
        self.decisions.with_label_values(&labels(outcome)).inc();
        self.duration.observe(took.as_secs_f64());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_request.set(now.as_secs_f64());
    }

    /// Counts one request without answer.
    pub(super) fn refused(&self, reason: &str) {
        self.refusals.with_label_values(&[reason]).inc();
    }
}

fn labels(outcome: Outcome) -> [&'static str; 2] {
    match outcome {
        Outcome::Injected => ["injected", "opted_in"],
        Outcome::Skipped(reason) => ["skipped", reason.as_str()],
    }
}
