//! The metric about the checks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus::Registry;

use super::denial::CheckResult;
use crate::runtime::catalogue::{Catalogue, MetricType, Row, Series, Source};

/// Every metric of the checks.
pub const ROWS: &[Row<CheckCounts>] = &[Row {
    name: "vdi_metrics_scrape_checks_total",
    help: "Requests for the server's metrics, by the result of the check of the token.",
    kind: MetricType::COUNTER,
    labels: &["result"],
    series: |counts| {
        let series = |result: CheckResult| Series::number([result.as_str()], counts.of(result));
        CheckResult::ALL.map(series).into()
    },
}];

/// Counts the checks; all clones share the same counts.
#[derive(Clone, Debug, Default)]
pub(super) struct CheckMetrics(Arc<CheckCounts>);

/// The values of the rows.
#[derive(Debug, Default)]
pub struct CheckCounts([AtomicU64; CheckResult::ALL.len()]);

// === impl CheckMetrics ===

impl CheckMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self::default();
        registry.register(Box::new(Catalogue::new(ROWS, metrics.clone())?))?;
        Ok(metrics)
    }

    pub(super) fn count(&self, result: CheckResult) {
        self.0.0[result as usize].fetch_add(1, Relaxed);
    }
}

impl Source for CheckMetrics {
    type Values = CheckCounts;

    fn with<R>(&self, read: impl FnOnce(&CheckCounts) -> R) -> R {
        read(&self.0)
    }
}

// === impl CheckCounts ===

impl CheckCounts {
    #[expect(clippy::cast_precision_loss, reason = "no server answers 2^52 requests")]
    fn of(&self, result: CheckResult) -> f64 {
        self.0[result as usize].load(Relaxed) as f64
    }
}
