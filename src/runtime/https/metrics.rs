//! Counts of the connections of each listener.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus::{Registry, core::Collector};

use crate::runtime::{
    catalogue::{Catalogue, MetricType, Row, Series, Source},
    vocabulary::vocabulary,
};

vocabulary! {
    /// A listener with TLS.
    pub enum HttpsListener {
        /// The webhook `/mutate`.
        Webhook = "webhook",
        /// The server's metrics.
        Metrics = "metrics",
    }
}

vocabulary! {
    /// Why a connection ended.
    pub enum CloseReason {
        /// The client closed it, or the last response announced the end.
        Finished = "finished",
        /// All connections were used, and a new connection took its place.
        Displaced = "displaced",
        /// The TLS handshake failed.
        HandshakeFailed = "handshake_failed",
        /// The TLS handshake took too long.
        HandshakeTimeout = "handshake_timeout",
        /// The first request did not arrive in time.
        HeaderTimeout = "header_timeout",
        /// No further request arrived in time.
        Idle = "idle",
        /// A response took too long.
        RequestTimeout = "request_timeout",
        /// The connection broke, or the request was not valid HTTP/1 or had too large headers.
        Failed = "failed",
        /// The server shut down.
        Shutdown = "shutdown",
    }
}

/// Every metric of the connections.
pub const ROWS: &[Row<ConnectionCounts>] = &[
    Row {
        name: "vdi_metrics_https_connections",
        help: "Open HTTPS connections, by listener. The maximum is 1024 for webhook and 64 for metrics.",
        kind: MetricType::GAUGE,
        labels: &["listener"],
        series: |counts| {
            let open = |listener: HttpsListener| counts.of(listener).open.load(Relaxed);
            HttpsListener::ALL
                .map(|listener| Series::number([listener.as_str()], number(open(listener))))
                .into()
        },
    },
    Row {
        name: "vdi_metrics_https_connections_closed_total",
        help: "Closed HTTPS connections, by listener and reason.",
        kind: MetricType::COUNTER,
        labels: &["listener", "reason"],
        series: |counts| {
            let of_one = |listener: HttpsListener| {
                CloseReason::ALL.map(|reason| {
                    let closed = counts.of(listener).closed[reason as usize].load(Relaxed);
                    Series::number([listener.as_str(), reason.as_str()], number(closed))
                })
            };
            HttpsListener::ALL.into_iter().flat_map(of_one).collect()
        },
    },
];

/// Counts connections; all clones share the same values.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics(Arc<ConnectionCounts>);

/// The values of the rows.
#[derive(Debug, Default)]
pub struct ConnectionCounts([ListenerCounts; HttpsListener::ALL.len()]);

#[derive(Debug, Default)]
struct ListenerCounts {
    open: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
}

// === impl ConnectionMetrics ===

impl ConnectionMetrics {
    /// Registers all rows. Every label value has a series from the start.
    ///
    /// # Errors
    /// A name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self(Arc::default());
        let catalogue: Box<dyn Collector> = Box::new(Catalogue::new(ROWS, metrics.clone())?);
        registry.register(catalogue)?;
        Ok(metrics)
    }

    pub(super) fn set_open(&self, listener: HttpsListener, open: usize) {
        self.0.of(listener).open.store(open as u64, Relaxed);
    }

    pub(super) fn count_closed(&self, listener: HttpsListener, reason: CloseReason) {
        self.0.of(listener).closed[reason as usize].fetch_add(1, Relaxed);
    }
}

impl Source for ConnectionMetrics {
    type Values = ConnectionCounts;

    fn with<R>(&self, read: impl FnOnce(&ConnectionCounts) -> R) -> R {
        read(&self.0)
    }
}

// === impl ConnectionCounts ===

impl ConnectionCounts {
    const fn of(&self, listener: HttpsListener) -> &ListenerCounts {
        &self.0[listener as usize]
    }
}

#[expect(clippy::cast_precision_loss, reason = "no server has 2^52 connections")]
const fn number(count: u64) -> f64 {
    count as f64
}
