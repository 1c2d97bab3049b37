//! The metrics of the registration.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use prometheus::Registry;

use super::serving::ServingCertificate;
use crate::runtime::{
    catalogue::{Catalogue, MetricType, Row, Series, Source},
    vocabulary::vocabulary,
};

/// Every metric of the registration.
pub const ROWS: &[Row<RegistrationValues>] = &[
    Row {
        name: "vdi_metrics_certificate_not_after_timestamp_seconds",
        help: "Expiry of the serving certificate, in Unix seconds; absent before the first certificate.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |values| {
            let pair = values.serving.current();
            pair.map(|pair| Series::number([], number(pair.validity.not_after))).into_iter().collect()
        },
    },
    Row {
        name: "vdi_metrics_certificate_trusted",
        help: "1 if the webhook configuration trusts the serving certificate, otherwise 0. Also 1 if no webhook configuration exists.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |values| vec![Series::number([], f64::from(values.is_trusted.load(Relaxed)))],
    },
    Row {
        name: "vdi_metrics_registration_writes_total",
        help: "Writes of the Secret vdi-metrics-tls and of the caBundle by this replica, by object and result.",
        kind: MetricType::COUNTER,
        labels: &["object", "result"],
        series: |values| {
            let objects = WrittenObject::ALL.into_iter().zip(&values.writes);
            let series = objects.flat_map(|(object, results)| {
                WriteResult::ALL.into_iter().zip(results).map(move |(result, count)| {
                    Series::number([object.as_str(), result.as_str()], unsigned(count))
                })
            });
            series.collect()
        },
    },
];

vocabulary! {
    /// An object that the leader writes; values of the label `object`.
    pub enum WrittenObject {
        /// The Secret with the CA and the serving certificate.
        Secret = "secret",
        /// The `caBundle` of the webhook configuration.
        CaBundle = "ca_bundle",
    }
}

vocabulary! {
    /// Result of a write; values of the label `result`.
    pub enum WriteResult {
        /// The API server has stored it.
        Written = "written",
        /// Another program wrote the object at the same time. The next attempt reads it again.
        Conflict = "conflict",
        /// The API server did not store it. The next attempt follows after a delay.
        Failed = "failed",
    }
}

/// The values of the rows.
#[derive(Debug, Default)]
pub struct RegistrationValues {
    serving: ServingCertificate,
    is_trusted: AtomicBool,
    writes: [[AtomicU64; WriteResult::ALL.len()]; WrittenObject::ALL.len()],
}

/// The metrics; all clones share the same values.
#[derive(Clone, Debug)]
pub(super) struct RegistrationMetrics(Arc<RegistrationValues>);

// === impl RegistrationMetrics ===

impl RegistrationMetrics {
    pub(super) fn register(registry: &Registry, serving: ServingCertificate) -> prometheus::Result<Self> {
        let metrics = Self(Arc::new(RegistrationValues { serving, ..RegistrationValues::default() }));
        registry.register(Box::new(Catalogue::new(ROWS, metrics.clone())?))?;
        Ok(metrics)
    }

    pub(super) fn trusted(&self, is_trusted: bool) {
        self.0.is_trusted.store(is_trusted, Relaxed);
    }

    pub(super) fn wrote(&self, object: WrittenObject, result: WriteResult) {
        self.0.writes[object as usize][result as usize].fetch_add(1, Relaxed);
    }
}

impl Source for RegistrationMetrics {
    type Values = RegistrationValues;

    fn with<R>(&self, read: impl FnOnce(&RegistrationValues) -> R) -> R {
        read(&self.0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "Unix times stay far below 2^52")]
const fn number(seconds: i64) -> f64 {
    seconds as f64
}

#[expect(clippy::cast_precision_loss, reason = "the counts stay far below 2^52")]
fn unsigned(count: &AtomicU64) -> f64 {
    count.load(Relaxed) as f64
}
