//! The table of the metrics about the connections of a session, one row for each metric.

use std::time::SystemTime;

use super::track::snapshot::{PresenceSnapshot, StreamBytes, StreamLimits};
use crate::runtime::{
    catalogue::{MetricType, Row, Series},
    clock,
};

/// Every metric about connections, in the order of the exposition.
pub const ROWS: &[Row<PresenceSnapshot>] = &[
    Row {
        name: "vdi_session_connections",
        help: "Number of viewers that are connected to the desktop over TCP: connections that two polls in a row have seen. Absent if it is not known, for example while the desktop streams over UDP; absent is not zero.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| one(snapshot.connections.map(f64::from)),
    },
    Row {
        name: "vdi_session_connected_seconds_total",
        help: "Seconds since the sidecar started in which at least one viewer was connected over TCP. The error is less than one poll interval for each visit. Does not grow while the number of viewers is not known, for example while the desktop streams over UDP. Absent if the sockets were never read.",
        kind: MetricType::COUNTER,
        labels: &[],
        series: |snapshot| one(snapshot.connected.map(|connected| connected.as_secs_f64())),
    },
    Row {
        name: "vdi_session_last_connected_timestamp_seconds",
        help: "Unix time in seconds of the last poll at which a viewer was connected; the last poll while one is connected. Absent if no viewer has been connected since the sidecar started.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| one(snapshot.last_connected.map(unix_seconds)),
    },
    Row {
        name: "vdi_session_stream_transmit_bytes_total",
        help: "Bytes that the desktop sent to viewers over TCP and that they acknowledged, since the sidecar started. Absent if the source does not give bytes.",
        kind: MetricType::COUNTER,
        labels: &[],
        series: |snapshot| bytes(snapshot, |bytes| bytes.transmitted),
    },
    Row {
        name: "vdi_session_stream_receive_bytes_total",
        help: "Bytes that the desktop received from viewers over TCP since the sidecar started. Absent if the source does not give bytes.",
        kind: MetricType::COUNTER,
        labels: &[],
        series: |snapshot| bytes(snapshot, |bytes| bytes.received),
    },
    Row {
        name: "vdi_session_stream_retransmitted_bytes_total",
        help: "Bytes that the desktop sent again to viewers over TCP, because they were lost or late, since the sidecar started. Absent if the source does not give bytes.",
        kind: MetricType::COUNTER,
        labels: &[],
        series: |snapshot| bytes(snapshot, |bytes| bytes.retransmitted),
    },
    Row {
        name: "vdi_session_stream_rtt_seconds",
        help: "Smoothed round-trip time in seconds of the viewer connection to which the desktop sent most since the last poll. It is measured to the peer that ends TCP: the viewer, a load balancer or a proxy. Absent without a viewer, and if the source does not give it.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| {
            let rtt = snapshot.quality.and_then(|quality| quality.rtt);
            one(rtt.map(|rtt| rtt.as_secs_f64()))
        },
    },
    Row {
        name: "vdi_session_stream_limited_ratio",
        help: "Part of the sending time since the last poll, 0 to 1, in which the connection of `vdi_session_stream_rtt_seconds` waited. `viewer`: the receive window of the peer was full. `network`: if unsent data waits at the poll, the sending time without that of `viewer`; otherwise the time in which the send buffer was full. Absent if nothing was sent, without a viewer, and before Linux 4.10.",
        kind: MetricType::GAUGE,
        labels: &["by"],
        series: |snapshot| {
            let limits = snapshot.quality.and_then(|quality| quality.limits);
            let series = |StreamLimits { network, viewer }| {
                vec![Series::number(["network"], network), Series::number(["viewer"], viewer)]
            };
            limits.map(series).unwrap_or_default()
        },
    },
    Row {
        name: "vdi_session_presence_info",
        help: "Source of the connections at the last poll, transport of the viewers, and how reliable their number is; always 1. With the sources `off` and `none` nothing is known about viewers.",
        kind: MetricType::GAUGE,
        labels: &["source", "transport", "confidence"],
        series: |snapshot| {
            let info = snapshot.method.iter().map(|method| {
                let transport = method.transport.map_or("", |transport| transport.as_str());
                let confidence = method.confidence.map_or("", |confidence| confidence.as_str());
                Series::number([method.source.as_str(), transport, confidence], 1.0)
            });
            info.collect()
        },
    },
    Row {
        name: "vdi_session_presence_passed_info",
        help: "Better sources of the connections that cannot be used, each with the reason; always 1.",
        kind: MetricType::GAUGE,
        labels: &["source", "reason"],
        series: |snapshot| {
            let passed = snapshot.method.iter().flat_map(|method| &method.passed);
            passed.map(|(source, reason)| Series::number([source.as_str(), reason.as_str()], 1.0)).collect()
        },
    },
];

fn one(number: Option<f64>) -> Vec<Series<'static>> {
    number.map(|number| Series::number([], number)).into_iter().collect()
}

fn bytes(snapshot: &PresenceSnapshot, number: impl Fn(StreamBytes) -> u64) -> Vec<Series<'_>> {
    one(snapshot.bytes.map(|bytes| number(bytes) as f64))
}

fn unix_seconds(time: SystemTime) -> f64 {
    clock::unix_time(time).as_secs_f64()
}
