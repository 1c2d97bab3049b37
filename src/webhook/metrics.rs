//! The metrics of the webhook and its configuration.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus::{
    Gauge, Histogram, HistogramOpts, Registry,
    core::{Collector, Metric},
};

use super::refusal::RefusalReason;
use crate::{
    admission::{Outcome, RepairedField, SkipReason},
    runtime::{
        catalogue::{Catalogue, MetricType, Row, Series, Source},
        clock,
    },
};

/// Every metric of the webhook.
pub const ROWS: &[Row<WebhookValues>] = &[
    Row {
        name: "vdi_metrics_admission_decisions_total",
        help: "Answered reviews, by outcome and reason.",
        kind: MetricType::COUNTER,
        labels: &["outcome", "reason"],
        series: |values| {
            let series = |outcome: Outcome| Series::number(outcome.labels(), values.decisions(outcome));
            Outcome::ALL.into_iter().map(series).collect()
        },
    },
    Row {
        name: DURATION,
        help: "Time to parse a received review, to decide and to write the answer, in seconds. The API server waits at most 2 s.",
        kind: MetricType::HISTOGRAM,
        labels: &[],
        series: |values| vec![Series::histogram([], values.duration.metric().get_histogram().clone())],
    },
    Row {
        name: "vdi_metrics_admission_last_request_timestamp_seconds",
        help: "Unix time of the last answered review; 0 before the first review.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |values| vec![Series::number([], values.last_request.get())],
    },
    Row {
        name: "vdi_metrics_admission_refusals_total",
        help: "Rejected requests, by reason. Their reviews get no answer.",
        kind: MetricType::COUNTER,
        labels: &["reason"],
        series: |values| {
            let count = |reason| number(&values.refusals[reason as usize]);
            RefusalReason::ALL.map(|reason| Series::number([reason.as_str()], count(reason))).into()
        },
    },
    Row {
        name: "vdi_metrics_admission_repairs_total",
        help: "Restored parts of injected sidecars, by part. Another webhook had removed or changed the part.",
        kind: MetricType::COUNTER,
        labels: &["part"],
        series: |values| {
            let count = |field| number(&values.repairs[field as usize]);
            RepairedField::ALL.map(|field| Series::number([field.as_str()], count(field))).into()
        },
    },
    Row {
        name: "vdi_metrics_admission_requests_in_flight",
        help: "Requests that the server is receiving or answering now.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |values| vec![Series::number([], number(&values.in_flight))],
    },
    Row {
        name: "vdi_metrics_config_generation",
        help: "Number of configurations that the server has activated since its start.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |values| vec![Series::number([], number(&values.config_generation))],
    },
    Row {
        name: "vdi_metrics_config_last_load_success",
        help: "1 if the active configuration is the content of the file; 0 if the file was changed and is not valid.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |values| vec![Series::number([], number(&values.config_success))],
    },
    Row {
        name: "vdi_metrics_config_last_load_timestamp_seconds",
        help: "Unix time at which the active configuration was loaded.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |values| vec![Series::number([], values.config_loaded.get())],
    },
];

const DURATION: &str = "vdi_metrics_admission_duration_seconds";

/// Buckets from below the duration of a review to 2 s, after which the API server stops waiting.
const BUCKETS: [f64; 11] = [5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 0.5, 2.0];

/// Counts what the webhook does; all clones share the same values.
#[derive(Debug, Clone)]
pub struct WebhookMetrics(Arc<WebhookValues>);

/// The values of the rows.
#[derive(Debug)]
pub struct WebhookValues {
    injected: AtomicU64,
    repaired: AtomicU64,
    skipped: [AtomicU64; SkipReason::ALL.len()],
    repairs: [AtomicU64; RepairedField::ALL.len()],
    refusals: [AtomicU64; RefusalReason::ALL.len()],
    duration: Histogram,
    in_flight: AtomicU64,
    last_request: Gauge,
    config_generation: AtomicU64,
    config_loaded: Gauge,
    config_success: AtomicU64,
}

/// Counts a request as in flight until the value is dropped.
#[derive(Debug)]
pub(super) struct InFlight<'m>(&'m AtomicU64);

// === impl WebhookMetrics ===

impl WebhookMetrics {
    /// Registers all rows. Every label value has a series from the start.
    ///
    /// # Errors
    /// A name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self(Arc::new(WebhookValues::new()?));
        let catalogue: Box<dyn Collector> = Box::new(Catalogue::new(ROWS, metrics.clone())?);
        registry.register(catalogue)?;
        Ok(metrics)
    }

    /// Counts one answered review.
    pub(super) fn count_answer(&self, outcome: Outcome, repaired: &[RepairedField], took: Duration) {
        self.0.decisions_counter(outcome).fetch_add(1, Relaxed);
        for field in repaired {
            self.0.repairs[*field as usize].fetch_add(1, Relaxed);
        }
        self.0.duration.observe(took.as_secs_f64());
        self.0.last_request.set(now());
    }

    /// Counts one rejected request.
    pub(super) fn count_refusal(&self, reason: RefusalReason) {
        self.0.refusals[reason as usize].fetch_add(1, Relaxed);
    }

    /// Counts a request as in flight, until the returned value is dropped.
    pub(super) fn in_flight(&self) -> InFlight<'_> {
        self.0.in_flight.fetch_add(1, Relaxed);
        InFlight(&self.0.in_flight)
    }

    /// Counts an activated configuration.
    pub(super) fn configuration_loaded(&self) {
        self.0.config_generation.fetch_add(1, Relaxed);
        self.0.config_loaded.set(now());
        self.0.config_success.store(1, Relaxed);
    }

    /// Shows that the content of the file is not the active configuration.
    pub(super) fn configuration_rejected(&self) {
        self.0.config_success.store(0, Relaxed);
    }
}

impl Source for WebhookMetrics {
    type Values = WebhookValues;

    fn with<R>(&self, read: impl FnOnce(&WebhookValues) -> R) -> R {
        read(&self.0)
    }
}

// === impl WebhookValues ===

impl WebhookValues {
    fn new() -> prometheus::Result<Self> {
        let duration = HistogramOpts::new(DURATION, "duration").buckets(BUCKETS.to_vec());
        Ok(Self {
            injected: AtomicU64::new(0),
            repaired: AtomicU64::new(0),
            skipped: [const { AtomicU64::new(0) }; _],
            repairs: [const { AtomicU64::new(0) }; _],
            refusals: [const { AtomicU64::new(0) }; _],
            duration: Histogram::with_opts(duration)?,
            in_flight: AtomicU64::new(0),
            last_request: Gauge::new("last_request", "time")?,
            config_generation: AtomicU64::new(0),
            config_loaded: Gauge::new("config_loaded", "time")?,
            config_success: AtomicU64::new(0),
        })
    }

    fn decisions_counter(&self, outcome: Outcome) -> &AtomicU64 {
        match outcome {
            Outcome::Injected => &self.injected,
            Outcome::Repaired => &self.repaired,
            Outcome::Skipped(reason) => &self.skipped[reason as usize],
        }
    }

    fn decisions(&self, outcome: Outcome) -> f64 {
        number(self.decisions_counter(outcome))
    }
}

#[expect(clippy::cast_precision_loss, reason = "no server answers 2^52 requests")]
fn number(count: &AtomicU64) -> f64 {
    count.load(Relaxed) as f64
}

fn now() -> f64 {
    clock::unix_now().as_secs_f64()
}

// === impl InFlight ===

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
