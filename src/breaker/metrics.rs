//! The metrics of the breaker.

use std::collections::BTreeMap;

use super::{
    reason::BlockReason,
    shared::SharedBreaker,
    state::{BreakerState, CircuitScope},
};
use crate::{
    cluster::Leadership,
    runtime::{
        catalogue::{MetricType, Row, Series, Source},
        vocabulary::vocabulary,
    },
};

vocabulary! {
    /// What a pause of injection covers.
    pub enum PauseScope {
        /// All pods, by `paused: true` in the configuration.
        Configuration = "configuration",
        /// All pods, because sidecars of several templates do not start.
        All = "all",
        /// The pods of a template whose sidecars do not start.
        Template = "template",
    }
}

/// Every metric of the breaker in each replica.
pub const ROWS: &[Row<BreakerValues>] = &[
    Row {
        name: "vdi_metrics_injection_paused",
        help: "Active pauses of injection, by scope. `configuration`: 1 with paused: true. `all`: 1 while injection is paused for all pods. `template`: number of paused templates.",
        kind: MetricType::GAUGE,
        labels: &["scope"],
        series: |values| {
            let paused = PauseScope::ALL.into_iter().zip(values.paused);
            paused.map(|(scope, count)| Series::number([scope.as_str()], number(count))).collect()
        },
    },
    Row {
        name: "vdi_metrics_injection_pauses_total",
        help: "Pauses of injection because sidecars did not start, by scope.",
        kind: MetricType::COUNTER,
        labels: &["scope"],
        series: |values| {
            let scopes = [PauseScope::All, PauseScope::Template].into_iter().zip(values.opened);
            scopes.map(|(scope, count)| Series::number([scope.as_str()], number(count))).collect()
        },
    },
];

/// Every metric of the breaker in the replica that leads.
pub const LEADER_ROWS: &[Row<BTreeMap<BlockReason, u64>>] = &[Row {
    name: "vdi_sessions_blocked_by_sidecar",
    help: "Pods that do not start or do not become ready because the sidecar does not run, by the kubelet's reason.",
    kind: MetricType::GAUGE,
    labels: &["reason"],
    series: |counts| {
        let counts = counts.iter();
        counts.map(|(reason, count)| Series::number([reason.as_str()], number(*count))).collect()
    },
}];

/// The values of the rows.
#[derive(Debug, PartialEq, Eq)]
pub struct BreakerValues {
    /// In the order of [`PauseScope`].
    paused: [u64; 3],
    /// Of all pods, and of a template.
    opened: [u64; 2],
}

/// The values of a breaker.
#[derive(Debug)]
pub(super) struct ReplicaSource(pub(super) SharedBreaker);

/// The blocked pods of a breaker, while this replica leads.
#[derive(Debug)]
pub(super) struct LeaderSource {
    pub(super) breaker: SharedBreaker,
    pub(super) leadership: Leadership,
}

// === impl ReplicaSource ===

impl Source for ReplicaSource {
    type Values = BreakerValues;

    fn with<R>(&self, read: impl FnOnce(&BreakerValues) -> R) -> R {
        let by_configuration = self.0.configuration().is_paused;
        let values = {
            let core = self.0.lock();
            let open = core.state.open().map(|(scope, _)| scope);
            let (all, templates): (Vec<_>, Vec<_>) = open.partition(|scope| *scope == CircuitScope::All);
            let paused = [u64::from(by_configuration), all.len() as u64, templates.len() as u64];
            BreakerValues { paused, opened: core.opened }
        };
        read(&values)
    }
}

// === impl LeaderSource ===

impl Source for LeaderSource {
    type Values = BTreeMap<BlockReason, u64>;

    fn with<R>(&self, read: impl FnOnce(&Self::Values) -> R) -> R {
        let leads = self.leadership.is_current();
        read(&if leads { counts(&self.breaker.lock().state) } else { BTreeMap::new() })
    }
}

/// The number of blocked pods, for every reason.
fn counts(state: &BreakerState) -> BTreeMap<BlockReason, u64> {
    let mut counts: BTreeMap<_, _> = BlockReason::ALL.map(|reason| (reason, 0)).into();
    for blocked in state.blocked() {
        *counts.entry(blocked.reason).or_default() += 1;
    }
    counts
}

#[expect(clippy::cast_precision_loss, reason = "no cluster has 2^52 pods")]
const fn number(count: u64) -> f64 {
    count as f64
}
