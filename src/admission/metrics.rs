//! What admission says about itself.

use std::time::{Duration, SystemTime};

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

use super::{Outcome, Part, SkipReason, edge};

/// From below our cost to the 2 s after which the API server gives up.
const BUCKETS: [f64; 11] = [5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 0.5, 2.0];

/// Counters of one server.
#[derive(Debug, Clone)]
pub struct Metrics {
    decisions: IntCounterVec,
    repairs: IntCounterVec,
    refusals: IntCounterVec,
    duration: Histogram,
    in_flight: IntGauge,
    last_request: Gauge,
    config_generation: IntGauge,
    config_loaded: Gauge,
    config_success: IntGauge,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct InFlight<'m>(&'m IntGauge);

// === impl Metrics ===

impl Metrics {
    /// Registers the families, with a series for every decision, repair and refusal before it first happens.
    ///
    /// # Errors
    /// Where one of the names is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let count = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let time = |name: &str, help: &str| {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let metrics = Self {
            decisions: counters(
                "vdi_metrics_admission_decisions_total",
                "Pods decided on, by outcome and reason.",
                &["outcome", "reason"],
            )?,
            repairs: counters(
                "vdi_metrics_admission_repairs_total",
                "Parts of our container that another webhook had broken and that were put back, by part.",
                &["part"],
            )?,
            refusals: counters(
                "vdi_metrics_admission_refusals_total",
                "Requests turned away unanswered, by reason.",
                &["reason"],
            )?,
            duration: Histogram::with_opts(
                HistogramOpts::new(
                    "vdi_metrics_admission_duration_seconds",
                    "Time to read a review that has arrived, to decide and to write the answer; the API server waits 2 s.",
                )
                .buckets(BUCKETS.to_vec()),
            )?,
            in_flight: count(
                "vdi_metrics_admission_requests_in_flight",
                "Requests that are being received or answered.",
            )?,
            last_request: time(
                "vdi_metrics_admission_last_request_timestamp_seconds",
                "Unix time of the last review that was answered; 0 before the first.",
            )?,
            config_generation: count(
                "vdi_metrics_config_generation",
                "Configurations put in force since the server started.",
            )?,
            config_loaded: time(
                "vdi_metrics_config_last_load_timestamp_seconds",
                "Unix time at which the configuration in force was loaded.",
            )?,
            config_success: count(
                "vdi_metrics_config_last_load_success",
                "1 if the file is what is in force; 0 if it was changed to something that cannot be used.",
            )?,
        };
        registry.register(Box::new(metrics.duration.clone()))?;
        metrics.show_all();
        Ok(metrics)
    }

    fn show_all(&self) {
        let skipped = SkipReason::ALL.map(Outcome::Skipped);
        for outcome in [Outcome::Injected, Outcome::Repaired].into_iter().chain(skipped) {
            self.decisions.with_label_values(&outcome.labels());
        }
        for part in Part::ALL {
            self.repairs.with_label_values(&[part.as_str()]);
        }
        for reason in edge::REFUSALS {
            self.refusals.with_label_values(&[reason]);
        }
    }

    /// Counts one answer.
    pub(super) fn decided(&self, outcome: Outcome, repaired: &[Part], took: Duration) {
        self.decisions.with_label_values(&outcome.labels()).inc();
        for part in repaired {
            self.repairs.with_label_values(&[part.as_str()]).inc();
        }
        self.duration.observe(took.as_secs_f64());
        self.last_request.set(now());
    }

    /// Counts one request without answer.
    pub(super) fn refused(&self, reason: &str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// Counts a request until the value is dropped, whatever becomes of it.
    pub(super) fn in_flight(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    /// Counts one configuration that is in force now.
    pub(super) fn configured(&self) {
        self.config_generation.inc();
        self.config_loaded.set(now());
        self.config_success.set(1);
    }

    /// Says that the file is not what is in force.
    pub(super) fn misconfigured(&self) {
        self.config_success.set(0);
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

// === impl InFlight ===

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
