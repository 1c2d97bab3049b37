//! The metrics of pods without a sidecar.

use std::collections::BTreeMap;

use super::{reason::NoSidecarReason, shared::SharedStore};
use crate::{
    cluster::Leadership,
    runtime::catalogue::{MetricType, Row, Series, Source},
};

/// Every metric of pods without a sidecar.
pub const ROWS: &[Row<BTreeMap<NoSidecarReason, u64>>] = &[Row {
    name: "vdi_pods_without_sidecar",
    help: "Opted-in pods that have not ended and have no sidecar, by reason. They are not sessions.",
    kind: MetricType::GAUGE,
    labels: &["reason"],
    series: |counts| {
        let counts = counts.iter();
        counts.map(|(reason, count)| Series::number([reason.as_str()], number(*count))).collect()
    },
}];

/// The counts of a store, while this replica leads.
#[derive(Debug)]
pub(super) struct Counts {
    store: SharedStore,
    leadership: Leadership,
}

// === impl Counts ===

impl Counts {
    pub(super) const fn new(store: SharedStore, leadership: Leadership) -> Self {
        Self { store, leadership }
    }
}

impl Source for Counts {
    type Values = BTreeMap<NoSidecarReason, u64>;

    fn with<R>(&self, read: impl FnOnce(&Self::Values) -> R) -> R {
        read(&if self.leadership.is_current() { self.store.lock().counts() } else { BTreeMap::new() })
    }
}

#[expect(clippy::cast_precision_loss, reason = "no cluster has 2^52 pods")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::LeadershipSender;

    #[test]
    fn only_a_replica_that_leads_exposes_counts() {
        let reports = LeadershipSender::default();
        let store = SharedStore::default();
        assert_eq!(store.lock().end_namespaces(), Vec::<String>::new());
        store.lock().end_configurations();
        store.lock().end_pods();
        let counts = Counts::new(store, reports.leadership());
        assert!(counts.with(BTreeMap::is_empty));
        reports.lead();
        assert_eq!(counts.with(BTreeMap::len), NoSidecarReason::ALL.len());
    }
}
