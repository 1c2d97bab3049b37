//! The metrics about the work of this replica on the ledger.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use prometheus::Registry;

use crate::{
    cluster::Leadership,
    runtime::{
        catalogue::{Catalogue, MetricType, Row, Series, Source},
        vocabulary::vocabulary,
    },
};

/// Every metric about the work of this replica.
pub const ROWS: &[Row<ReplicaCounts>] = &[
    Row {
        name: "vdi_metrics_ledger_leading",
        help: "1 if this replica counts the sessions, otherwise 0. One replica has 1.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |counts| {
            let leads = counts.leadership.is_current();
            let counts = leads && counts.is_counting.load(Relaxed);
            vec![Series::number([], f64::from(counts))]
        },
    },
    Row {
        name: "vdi_metrics_ledger_takeovers_total",
        help: "Times this replica became the leader, by the source of the events since the last save.",
        kind: MetricType::COUNTER,
        labels: &["source"],
        series: |counts| by_text(EventSource::ALL.map(EventSource::as_str), &counts.takeovers),
    },
    Row {
        name: "vdi_metrics_ledger_events_total",
        help: "Events of session pods that the leader received, by result.",
        kind: MetricType::COUNTER,
        labels: &["result"],
        series: |counts| by_text(EventResult::ALL.map(EventResult::as_str), &counts.events),
    },
    Row {
        name: "vdi_metrics_ledger_watch_interruptions_total",
        help: "Interruptions of the watch of session pods, by what followed.",
        kind: MetricType::COUNTER,
        labels: &["result"],
        series: |counts| by_text(Interruption::ALL.map(Interruption::as_str), &counts.interruptions),
    },
    Row {
        name: "vdi_metrics_ledger_saves_total",
        help: "Saves of the ledger by this replica, by result. The metrics of sessions show the last successful save.",
        kind: MetricType::COUNTER,
        labels: &["result"],
        series: |counts| by_text(SaveResult::ALL.map(SaveResult::as_str), &counts.saves),
    },
    Row {
        name: "vdi_metrics_ledger_last_save_timestamp_seconds",
        help: "Unix time of the last successful save by this replica; 0 before the first one.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |counts| vec![Series::number([], number(&counts.last_save))],
    },
    Row {
        name: "vdi_metrics_ledger_saved_bytes_total",
        help: "Compressed bytes of the sessions that this replica saved.",
        kind: MetricType::COUNTER,
        labels: &[],
        series: |counts| vec![Series::number([], number(&counts.saved_bytes))],
    },
];

vocabulary! {
    /// Where a new leader gets the events since the last save; values of the label `source`.
    pub enum EventSource {
        /// From the memory of this replica.
        Memory = "memory",
        /// From the history of the API server.
        ApiServer = "api_server",
        /// Nowhere: a list shows the pods that exist.
        List = "list",
    }
}

vocabulary! {
    /// What the ledger did with an event; values of the label `result`.
    pub enum EventResult {
        /// It changed the ledger.
        Applied = "applied",
        /// It is older than the state of the ledger.
        Repeated = "repeated",
        /// The pod cannot be decoded.
        Unreadable = "unreadable",
    }
}

vocabulary! {
    /// What followed an interruption of the watch; values of the label `result`.
    pub enum Interruption {
        /// The watch continued without a loss.
        Continued = "continued",
        /// The API server had no history any more.
        Expired = "expired",
        /// The resource versions of the API server have become lower.
        Restored = "restored",
    }
}

vocabulary! {
    /// Result of a save; values of the label `result`.
    pub enum SaveResult {
        /// The state is durable.
        Saved = "saved",
        /// The store did not accept the state. The next save tries again.
        Failed = "failed",
        /// Another replica has taken over.
        Lost = "lost",
    }
}

/// Counts the work of this replica; all clones share the same counts.
#[derive(Clone, Debug)]
pub(in crate::sessions) struct ReplicaMetrics(Arc<ReplicaCounts>);

/// The values of the rows.
#[derive(Debug)]
pub struct ReplicaCounts {
    leadership: Leadership,
    is_counting: AtomicBool,
    takeovers: [AtomicU64; EventSource::ALL.len()],
    events: [AtomicU64; EventResult::ALL.len()],
    interruptions: [AtomicU64; Interruption::ALL.len()],
    saves: [AtomicU64; SaveResult::ALL.len()],
    last_save: AtomicU64,
    saved_bytes: AtomicU64,
}

// === impl ReplicaMetrics ===

impl ReplicaMetrics {
    pub(in crate::sessions) fn register(
        registry: &Registry,
        leadership: Leadership,
    ) -> prometheus::Result<Self> {
        let metrics = Self(Arc::new(ReplicaCounts::new(leadership)));
        registry.register(Box::new(Catalogue::new(ROWS, metrics.clone())?))?;
        Ok(metrics)
    }

    pub(super) fn took_over(&self, source: EventSource) {
        self.0.is_counting.store(true, Relaxed);
        self.0.takeovers[source as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn stopped_counting(&self) {
        self.0.is_counting.store(false, Relaxed);
    }

    pub(super) fn received(&self, result: EventResult, events: u64) {
        self.0.events[result as usize].fetch_add(events, Relaxed);
    }

    pub(super) fn interrupted(&self, interruption: Interruption) {
        self.0.interruptions[interruption as usize].fetch_add(1, Relaxed);
    }

    /// Counts a save of this number of bytes at this Unix time.
    pub(super) fn saved(&self, result: SaveResult, bytes: usize, now: u64) {
        self.0.saves[result as usize].fetch_add(1, Relaxed);
        if result == SaveResult::Saved {
            self.0.last_save.store(now, Relaxed);
            self.0.saved_bytes.fetch_add(bytes as u64, Relaxed);
        }
    }
}

// === impl ReplicaCounts ===

impl ReplicaCounts {
    fn new(leadership: Leadership) -> Self {
        Self {
            leadership,
            is_counting: AtomicBool::default(),
            takeovers: Default::default(),
            events: Default::default(),
            interruptions: Default::default(),
            saves: Default::default(),
            last_save: AtomicU64::default(),
            saved_bytes: AtomicU64::default(),
        }
    }
}

impl Source for ReplicaMetrics {
    type Values = ReplicaCounts;

    fn with<R>(&self, read: impl FnOnce(&ReplicaCounts) -> R) -> R {
        read(&self.0)
    }
}

/// A series for each text of a vocabulary, in the order of the counts.
fn by_text<const N: usize>(texts: [&'static str; N], counts: &[AtomicU64; N]) -> Vec<Series<'static>> {
    texts.into_iter().zip(counts).map(|(text, count)| Series::number([text], number(count))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "the counts stay far below 2^52")]
fn number(count: &AtomicU64) -> f64 {
    count.load(Relaxed) as f64
}
