//! The metrics of the node agent.

use super::snapshot::{MappingFailure, NodeSnapshot};
use crate::runtime::{
    self,
    catalogue::{MetricType, Row, Series},
    clock,
};

/// Every metric of the agent.
pub const CATALOGUE: &[Row<NodeSnapshot>] = &[
    Row {
        name: "vdi_metrics_node_devices",
        help: "Number of GPUs and MIG slices that the driver lists on this node.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| vec![Series::number([], snapshot.devices as f64)],
    },
    Row {
        name: "vdi_metrics_node_sessions",
        help: "Number of sessions whose report the last poll has written.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| vec![Series::number([], snapshot.sessions as f64)],
    },
    Row {
        name: "vdi_metrics_node_reports_total",
        help: "Number of reports that the agent has written into the volumes of session pods.",
        kind: MetricType::COUNTER,
        labels: &[],
        series: |snapshot| vec![Series::number([], snapshot.reports as f64)],
    },
    Row {
        name: "vdi_metrics_node_failures_total",
        help: "Number of processes, pods and reports that could not be handled, by reason.",
        kind: MetricType::COUNTER,
        labels: &["reason"],
        series: |snapshot| MappingFailure::ALL.into_iter().map(|reason| failures(snapshot, reason)).collect(),
    },
    Row {
        name: "vdi_metrics_node_kubelet_up",
        help: "1 if the kubelet has listed the devices of pods at its last answer, else 0.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| vec![Series::number([], f64::from(u8::from(snapshot.kubelet.is_none())))],
    },
    Row {
        name: "vdi_metrics_node_poll_success",
        help: "1 if the driver answered at the last poll, else 0.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| vec![Series::number([], f64::from(u8::from(snapshot.is_driver_readable)))],
    },
    Row {
        name: "vdi_metrics_node_poll_duration_seconds",
        help: "Duration of the last poll in which the driver answered, in seconds.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| {
            snapshot
                .last_poll
                .iter()
                .map(|(_, duration)| Series::number([], duration.as_secs_f64()))
                .collect()
        },
    },
    Row {
        name: "vdi_metrics_node_last_poll_timestamp_seconds",
        help: "Unix time of the last poll in which the driver answered.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| {
            let seconds = |at| clock::unix_time(at).as_secs_f64();
            snapshot.last_poll.iter().map(|(at, _)| Series::number([], seconds(*at))).collect()
        },
    },
    Row {
        name: "vdi_metrics_node_nvml_calls_total",
        help: "Number of calls of the driver's library (NVML), failed calls included.",
        kind: MetricType::COUNTER,
        labels: &[],
        series: |snapshot| vec![Series::number([], snapshot.calls.calls as f64)],
    },
    Row {
        name: "vdi_metrics_node_nvml_errors_total",
        help: "Number of failed calls of the driver's library by call and error code.",
        kind: MetricType::COUNTER,
        labels: &["call", "code"],
        series: |snapshot| {
            let faults = snapshot.calls.faults.iter();
            let series = |(fault, count): &(crate::gpu::Fault, u64)| {
                Series::number([fault.call.as_str(), fault.code.as_str()], *count as f64)
            };
            faults.map(series).collect()
        },
    },
    Row {
        name: "vdi_metrics_node_build_info",
        help: "Version and source revision of the node agent; always 1.",
        kind: MetricType::GAUGE,
        labels: &["revision", "version"],
        series: |_| vec![Series::number([runtime::REVISION, runtime::VERSION], 1.0)],
    },
];

fn failures(snapshot: &NodeSnapshot, reason: MappingFailure) -> Series<'static> {
    let count =
        snapshot.failures.iter().find(|(counted, _)| *counted == reason).map_or(0, |(_, count)| *count);
    Series::number([reason.as_str()], count as f64)
}
