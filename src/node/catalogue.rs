//! The metrics of the node agent.

mod series;

use self::series::{USERS, failures, flag, gpu_info, per_gpu, per_gpu_and_owner, report_age};
use super::{device_totals::OwnerKind, snapshot::NodeSnapshot};
use crate::{
    runtime::{
        self,
        catalogue::{MetricType, Row, Series},
        clock,
    },
    sampling::series::{clamps, faults},
};

/// Every metric of the agent.
pub const CATALOGUE: &[Row<NodeSnapshot>] = &[
    Row {
        name: "vdi_gpu_info",
        help: "Device that the last poll has read; always 1. `card` is the UUID of the card of a MIG slice.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "card", "model", "mig_profile", "driver_version"],
        series: gpu_info,
    },
    Row {
        name: "vdi_gpu_busy_seconds_total",
        help: "Seconds since the agent started in which the device was busy, by owner of the processes; the sum over `owner` is the device. \
               `unsampled` is the part that no sample of a process explains.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "owner"],
        series: |snapshot| per_gpu_and_owner(snapshot, USERS, |total| total.busy),
    },
    Row {
        name: "vdi_gpu_observed_seconds_total",
        help: "Seconds since the agent started that the readings of the device cover. Time in which the device could not be read does not count.",
        kind: MetricType::COUNTER,
        labels: &["gpu"],
        series: |snapshot| per_gpu(snapshot, |total| Some(total.observed)),
    },
    Row {
        name: "vdi_gpu_memory_used_bytes",
        help: "Used bytes of the frame buffer by owner of the processes; the sum over `owner` is the device. `unsampled` is the part that no \
               listed process uses.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "owner"],
        series: |snapshot| {
            per_gpu_and_owner(snapshot, USERS, |total| total.current?.memory.map(|(used, _)| used))
        },
    },
    Row {
        name: "vdi_gpu_memory_total_bytes",
        help: "Bytes of the frame buffer of the card or MIG slice, including the driver's reserve.",
        kind: MetricType::GAUGE,
        labels: &["gpu"],
        series: |snapshot| per_gpu(snapshot, |total| total.current?.memory.map(|(_, size)| size as f64)),
    },
    Row {
        name: "vdi_gpu_energy_joules_total",
        help: "Energy of the card in joules since the agent started, by owner of the processes; the sum over `owner` is the card. The parts \
               are estimated from the busy time. `idle` is the energy of the time in which the card was not busy.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "owner"],
        series: |snapshot| per_gpu_and_owner(snapshot, &OwnerKind::ALL, |total| total.energy),
    },
    Row {
        name: "vdi_gpu_sessions",
        help: "Number of sessions that the device is assigned to or that have a process on it.",
        kind: MetricType::GAUGE,
        labels: &["gpu"],
        series: |snapshot| per_gpu(snapshot, |total| Some(total.sessions()?.count as f64)),
    },
    Row {
        name: "vdi_gpu_mismatched_sessions",
        help: "Number of sessions that have a process on the device although other devices, or none, are assigned to them.",
        kind: MetricType::GAUGE,
        labels: &["gpu"],
        series: |snapshot| per_gpu(snapshot, |total| Some(total.sessions()?.mismatched as f64)),
    },
    Row {
        name: "vdi_metrics_node_devices",
        help: "Number of cards and MIG slices at the last poll, without those that `--devices` excludes; 0 if the driver did not answer.",
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
        name: "vdi_metrics_node_report_age_seconds",
        help: "Age in seconds of the values in the latest reports. Absent before the first report, and if the node has no session.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: report_age,
    },
    Row {
        name: "vdi_metrics_node_failures_total",
        help: "Number of processes, pods and reports that could not be handled, by reason.",
        kind: MetricType::COUNTER,
        labels: &["reason"],
        series: failures,
    },
    Row {
        name: "vdi_metrics_node_kubelet_up",
        help: "1 if the last request for the kubelet's list of allocated devices succeeded, else 0.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| flag(snapshot.kubelet.is_none()),
    },
    Row {
        name: "vdi_metrics_node_poll_success",
        help: "1 if the driver answered at the last poll, else 0.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| flag(snapshot.is_driver_readable),
    },
    Row {
        name: "vdi_metrics_node_poll_duration_seconds",
        help: "Duration in seconds of the last poll in which the driver answered.",
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
        help: "Unix time in seconds of the end of the last poll in which the driver answered.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| {
            let seconds = |at| clock::unix_time(at).as_secs_f64();
            snapshot.last_poll.iter().map(|(at, _)| Series::number([], seconds(*at))).collect()
        },
    },
    Row {
        name: "vdi_metrics_node_nvml_calls_total",
        help: "Number of NVML calls, including failed calls.",
        kind: MetricType::COUNTER,
        labels: &[],
        series: |snapshot| vec![Series::number([], snapshot.calls.calls as f64)],
    },
    Row {
        name: "vdi_metrics_node_nvml_errors_total",
        help: "Number of failed NVML calls by call and error code.",
        kind: MetricType::COUNTER,
        labels: &["call", "code"],
        series: |snapshot| faults(&snapshot.calls.faults),
    },
    Row {
        name: "vdi_metrics_node_clamped_values_total",
        help: "Number of values from the driver that were out of range, by kind. Such a value is clamped or absent.",
        kind: MetricType::COUNTER,
        labels: &["value"],
        series: |snapshot| clamps(&snapshot.calls.clamped),
    },
    Row {
        name: "vdi_metrics_node_build_info",
        help: "Version and source revision of the node agent; always 1.",
        kind: MetricType::GAUGE,
        labels: &["revision", "version"],
        series: |_| vec![Series::number([runtime::REVISION, runtime::VERSION], 1.0)],
    },
];
