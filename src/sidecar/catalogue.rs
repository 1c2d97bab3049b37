//! The table of the sidecar's metrics, one row for each metric. Pure.

mod series;

use super::snapshot::{AttributionInfo, Snapshot};
use crate::{
    gpu::Throttled,
    runtime::{
        self,
        catalogue::{MetricType, Row, Series},
    },
    sampling::series::{clamps, faults},
};

/// Every metric of the sidecar, in the order of the exposition.
pub const CATALOGUE: &[Row<Snapshot>] = &[
    Row {
        name: "vdi_session_info",
        help: "Names of the session that this pod serves; always 1.",
        kind: MetricType::GAUGE,
        labels: &["session", "template", "pool", "user"],
        series: |snapshot| {
            let session = &snapshot.session;
            vec![Series::number([&session.name, &session.template, &session.pool, &session.user], 1.0)]
        },
    },
    Row {
        name: "vdi_session_start_time_seconds",
        help: "Unix time in seconds at which the pod's sandbox was created, just before the first container. If this time cannot be read: the start of the sidecar.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| vec![Series::number([], series::unix_seconds(snapshot.started))],
    },
    Row {
        name: "vdi_session_gpu_available",
        help: "1 if a GPU of this session can be read, else 0.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| vec![Series::number([], f64::from(!snapshot.gpus.is_empty()))],
    },
    Row {
        name: "vdi_session_gpu_unavailable_info",
        help: "Reason why no GPU of the session can be read. With the label `gpu`: reason why this GPU cannot be read while others can. Always 1.",
        kind: MetricType::GAUGE,
        labels: &["reason", "gpu"],
        series: series::unavailable,
    },
    Row {
        name: "vdi_session_gpu_attribution_info",
        help: "Strategy that identified the session's GPUs, widest scope of their values, and confidence of the strategy; always 1.",
        kind: MetricType::GAUGE,
        labels: &["strategy", "scope", "confidence"],
        series: |snapshot| {
            let attribution = snapshot.attribution.as_ref().ok().filter(|_| !snapshot.gpus.is_empty());
            let labels =
                |by: &AttributionInfo| [by.strategy.as_str(), by.scope.as_str(), by.confidence.as_str()];
            attribution.map(|by| Series::number(labels(by), 1.0)).into_iter().collect()
        },
    },
    Row {
        name: "vdi_session_gpu_attribution_passed_info",
        help: "Attribution strategies that were tried before and did not apply, each with the reason; always 1.",
        kind: MetricType::GAUGE,
        labels: &["strategy", "reason"],
        series: |snapshot| {
            let strategies = snapshot.not_applicable.iter();
            strategies
                .map(|(strategy, reason)| Series::number([strategy.as_str(), reason.as_str()], 1.0))
                .collect()
        },
    },
    Row {
        name: "vdi_session_gpu_info",
        help: "Each GPU of the session with its UUID, its model and how it is shared; for a MIG slice also the UUID of its card. Always 1.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "card", "model", "mig_profile", "sharing", "driver_version"],
        series: series::gpu_info,
    },
    Row {
        name: "vdi_session_gpu_unassigned_info",
        help: "GPU that a process of the session uses although other GPUs, or none, are assigned to the session; always 1. Only the node agent knows it.",
        kind: MetricType::GAUGE,
        labels: &["gpu"],
        series: |snapshot| {
            snapshot.unassigned.iter().map(|gpu| Series::number([gpu.as_str()], 1.0)).collect()
        },
    },
    Row {
        name: "vdi_session_gpu_utilization_ratio",
        help: "Fraction of the time since the last poll in which the GPU was busy, 0 to 1.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| series::per_gpu_and_scope(snapshot, |gpu| &gpu.values.utilization, |ratio| ratio),
    },
    Row {
        name: "vdi_session_gpu_busy_seconds_total",
        help: "Seconds since the sidecar started in which the GPU was busy, calculated from the driver's samples if it keeps them. On a shared GPU, the scope `session` is the session's own part, estimated from the newest sample at each poll.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "scope"],
        series: |snapshot| series::per_account_and_scope(snapshot, |account| &account.busy, |total| total),
    },
    Row {
        name: "vdi_session_gpu_allocated_seconds_total",
        help: "Seconds since the sidecar started for which the GPU was allocated to the session, busy or idle.",
        kind: MetricType::COUNTER,
        labels: &["gpu"],
        series: |snapshot| series::per_account(snapshot, |account| account.allocated),
    },
    Row {
        name: "vdi_session_gpu_idle_allocated_seconds_total",
        help: "Seconds since the sidecar started for which the GPU was allocated to the session and no viewer used it, by reason. `nobody_connected`: no viewer was connected, whether the GPU worked or not. `connected_unused`: a viewer was connected, the utilization since the last poll was below 1 %, and the session had no process on the GPU; if its processes are not known, the utilization alone decides. The time between two polls counts only if both polls know whether a viewer is connected, with the same answer, and if the utilization in this time is known. Absent if this was never known.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "reason"],
        series: series::idle,
    },
    Row {
        name: "vdi_session_gpu_unsampled_seconds_total",
        help: "Allocated seconds that no driver sample covers. If the poll was on time, the busy time in these seconds is estimated; otherwise they count as idle.",
        kind: MetricType::COUNTER,
        labels: &["gpu"],
        series: |snapshot| {
            series::per_account(snapshot, |account| account.allocated.map(|_| account.unsampled))
        },
    },
    Row {
        name: "vdi_session_gpu_memory_used_bytes",
        help: "Bytes of the frame buffer that are in use, without the driver's reserve.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| {
            series::per_gpu_and_scope(snapshot, |gpu| &gpu.values.memory, |bytes| bytes as f64)
        },
    },
    Row {
        name: "vdi_session_gpu_memory_peak_bytes",
        help: "Maximum number of bytes of the frame buffer in use at a poll since the sidecar started.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| {
            series::per_account_and_scope(snapshot, |account| &account.peak, |bytes| bytes as f64)
        },
    },
    Row {
        name: "vdi_session_gpu_memory_total_bytes",
        help: "Bytes of the frame buffer of the card or MIG slice, including the driver's reserve.",
        kind: MetricType::GAUGE,
        labels: &["gpu"],
        series: |snapshot| series::per_gpu(snapshot, |gpu| Some(gpu.reading.memory?.total as f64)),
    },
    Row {
        name: "vdi_session_gpu_energy_joules_total",
        help: "Energy in joules that the card consumed since the sidecar started, while the card or a MIG slice of it was allocated to the session.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "scope"],
        series: |snapshot| series::per_account_and_scope(snapshot, |account| &account.energy, |total| total),
    },
    Row {
        name: "vdi_session_gpu_energy_attributed_joules_total",
        help: "Energy of the card in joules that is attributed to the session. If the card is not shared, this is all its energy. On a shared card it is an estimate: the energy multiplied by the utilization of the session's processes.",
        kind: MetricType::COUNTER,
        labels: &["gpu"],
        series: |snapshot| series::per_account(snapshot, |account| account.attributed),
    },
    Row {
        name: "vdi_session_gpu_energy_idle_joules_total",
        help: "Energy of the card in joules while the card was idle. This is an estimate: the energy multiplied by the idle part of the time. On a shared card no session has caused it.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "scope"],
        series: |snapshot| {
            series::per_account_and_scope(snapshot, |account| &account.idle_energy, |total| total)
        },
    },
    Row {
        name: "vdi_session_gpu_power_watts",
        help: "Power of the card in watts.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| series::per_card(snapshot, |reading| Some(f64::from(reading.power?) / 1000.0)),
    },
    Row {
        name: "vdi_session_gpu_temperature_celsius",
        help: "Temperature of the card's chip in degrees Celsius.",
        kind: MetricType::GAUGE,
        labels: &["gpu"],
        series: |snapshot| series::per_gpu(snapshot, |gpu| gpu.reading.temperature.map(f64::from)),
    },
    Row {
        name: "vdi_session_gpu_clock_hertz",
        help: "Clock of the card's multiprocessors (`sm`) and of its frame buffer (`memory`) in hertz.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "domain"],
        series: |snapshot| {
            series::per_gpu_and_label(snapshot, |gpu| {
                let clocks = [("sm", gpu.reading.sm_clock), ("memory", gpu.reading.memory_clock)];
                clocks
                    .into_iter()
                    .filter_map(|(domain, megahertz)| Some((domain, f64::from(megahertz?) * 1e6)))
                    .collect()
            })
        },
    },
    Row {
        name: "vdi_session_gpu_throttled",
        help: "1 if the card's clocks are reduced for this reason, else 0.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "reason"],
        series: |snapshot| {
            series::per_gpu_and_label(snapshot, |gpu| {
                let of = |by: Throttled| {
                    [("power_cap", by.power_cap), ("thermal", by.thermal), ("power_brake", by.power_brake)]
                };
                let reasons = gpu.reading.throttled.map(of).into_iter().flatten();
                reasons.map(|(reason, is)| (reason, f64::from(is))).collect()
            })
        },
    },
    Row {
        name: "vdi_session_gpu_encoder_utilization_ratio",
        help: "Fraction of the driver's last measuring window in which the encoder was busy, 0 to 1.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| series::per_gpu_and_scope(snapshot, |gpu| &gpu.values.encoder, |ratio| ratio),
    },
    Row {
        name: "vdi_session_gpu_decoder_utilization_ratio",
        help: "Fraction of the driver's last measuring window in which the decoder was busy, 0 to 1.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| series::per_gpu_and_scope(snapshot, |gpu| &gpu.values.decoder, |ratio| ratio),
    },
    Row {
        name: "vdi_session_gpu_encoder_sessions",
        help: "Number of encoder sessions on the GPU. On a shared GPU, the scope `session` counts the session's own; only the node agent knows them.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| series::encoding(snapshot, |streams| f64::from(streams.sessions)),
    },
    Row {
        name: "vdi_session_gpu_encoder_codec_sessions",
        help: "Number of encoder sessions on the GPU by codec; absent for a codec without sessions. Scopes as for `vdi_session_gpu_encoder_sessions`.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope", "codec"],
        series: series::codecs,
    },
    Row {
        name: "vdi_session_gpu_encoder_frames_per_second",
        help: "Mean number of frames per second of the encoder sessions on the GPU. Scopes as for `vdi_session_gpu_encoder_sessions`.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| series::encoding(snapshot, |streams| f64::from(streams.frames)),
    },
    Row {
        name: "vdi_session_gpu_encoder_latency_seconds",
        help: "Mean number of seconds from the arrival of a frame at the encoder until it is encoded, for the encoder sessions on the GPU. Scopes as for `vdi_session_gpu_encoder_sessions`.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| series::encoding(snapshot, |streams| f64::from(streams.latency) / 1e6),
    },
    Row {
        name: "vdi_session_gpu_fbc_sessions",
        help: "Number of frame-buffer captures on the GPU; absent if there is none. On a shared GPU, the scope `session` counts the session's own; only the node agent knows them.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| series::capturing(snapshot, |streams| f64::from(streams.sessions)),
    },
    Row {
        name: "vdi_session_gpu_fbc_frames_per_second",
        help: "Mean number of frames per second of the frame-buffer captures on the GPU; absent if there is none. Scopes as for `vdi_session_gpu_fbc_sessions`.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| series::capturing(snapshot, |streams| f64::from(streams.frames)),
    },
    Row {
        name: "vdi_session_gpu_fbc_latency_seconds",
        help: "Mean number of seconds that the frame-buffer captures on the GPU take for one frame; absent if there is none. Scopes as for `vdi_session_gpu_fbc_sessions`.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        series: |snapshot| series::capturing(snapshot, |streams| f64::from(streams.latency) / 1e6),
    },
    Row {
        name: "vdi_session_gpu_processes",
        help: "Number of the session's own processes on the GPU by kind of context. A process with both kinds counts as `graphics`.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "kind"],
        series: |snapshot| {
            series::per_gpu_and_label(snapshot, |gpu| {
                let kinds = gpu.processes.into_iter().flatten();
                kinds.map(|(kind, count)| (kind.as_str(), count as f64)).collect()
            })
        },
    },
    Row {
        name: "vdi_session_gpu_xid_errors_total",
        help: "Faults of the card that the driver reported while the GPU was allocated to the session, by Xid number. `other` counts faults without a number, and further numbers if there are already 16.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "xid"],
        series: series::xids,
    },
    Row {
        name: "vdi_metrics_collect_success",
        help: "1 if the last poll read all GPUs of the session, every value that these GPUs support, and all evidence of the attribution, else 0. Also 1 with the reasons `not_requested` and `not_allocated`, because nothing failed.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| series::last_poll(snapshot, |collection| f64::from(collection.success)),
    },
    Row {
        name: "vdi_metrics_collect_duration_seconds",
        help: "Duration of the last poll in seconds, including its driver calls.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| series::last_poll(snapshot, |collection| collection.duration.as_secs_f64()),
    },
    Row {
        name: "vdi_metrics_last_collect_timestamp_seconds",
        help: "Unix time in seconds at which the last poll ended. If this time does not advance, the driver hangs.",
        kind: MetricType::GAUGE,
        labels: &[],
        series: |snapshot| series::last_poll(snapshot, |collection| series::unix_seconds(collection.at)),
    },
    Row {
        name: "vdi_metrics_clamped_values_total",
        help: "Number of values from the driver that were out of range, by kind. Such a value is clamped or absent.",
        kind: MetricType::COUNTER,
        labels: &["value"],
        series: |snapshot| clamps(&snapshot.clamped),
    },
    Row {
        name: "vdi_metrics_unreadable_evidence_total",
        help: "Number of polls that could not read evidence of the session's GPUs, by evidence. The sidecar uses the last value that it could read. Without such a value, no GPU is attributed.",
        kind: MetricType::COUNTER,
        labels: &["evidence"],
        series: |snapshot| {
            let unreadable = snapshot.unreadable.iter();
            unreadable.map(|(source, count)| Series::number([source.as_str()], *count as f64)).collect()
        },
    },
    Row {
        name: "vdi_metrics_nvml_calls_total",
        help: "Number of NVML calls, including failed calls.",
        kind: MetricType::COUNTER,
        labels: &[],
        series: |snapshot| vec![Series::number([], snapshot.calls as f64)],
    },
    Row {
        name: "vdi_metrics_nvml_errors_total",
        help: "Number of failed NVML calls by call and error code. A call that a device does not support is made once, and again after a device or the driver was lost.",
        kind: MetricType::COUNTER,
        labels: &["call", "code"],
        series: |snapshot| faults(&snapshot.faults),
    },
    Row {
        name: "vdi_metrics_build_info",
        help: "Version and source revision of the sidecar, and version of the NVML library that it opened; always 1.",
        kind: MetricType::GAUGE,
        labels: &["version", "revision", "nvml_version"],
        series: |snapshot| {
            vec![Series::number(
                [runtime::VERSION, runtime::REVISION, series::text(&snapshot.versions.nvml)],
                1.0,
            )]
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels that Prometheus adds to every series; it renames a label of the same name to `exported_...`.
    const ADDED: [&str; 8] =
        ["pod", "namespace", "node", "container", "service", "job", "instance", "endpoint"];

    #[test]
    fn names_and_labels_follow_the_conventions() {
        for row in CATALOGUE {
            let name = row.name;
            assert_eq!(CATALOGUE.iter().filter(|other| other.name == name).count(), 1, "{name}");
            assert!(name.starts_with("vdi_session_") || name.starts_with("vdi_metrics_"), "{name}");
            assert_eq!(name.ends_with("_total"), row.kind == MetricType::COUNTER, "{name}");
            assert!(row.help.ends_with('.'), "{name}");
            assert!(row.labels.iter().all(|label| !ADDED.contains(label)), "{name}");
        }
    }
}
