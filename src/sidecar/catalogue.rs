//! THE table of the sidecar's metrics: one row each. Pure. A label without a value is left out of its series, which
//! Prometheus takes for the same thing.

use std::time::SystemTime;

pub use prometheus::proto::MetricType;

use super::snapshot::{Collection, Gpu, Snapshot};
use crate::runtime;

/// One metric.
#[derive(Debug)]
pub struct Row {
    /// Name of the family.
    pub name: &'static str,
    /// One sentence, unit included.
    pub help: &'static str,
    /// `COUNTER` or `GAUGE`.
    pub kind: MetricType,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// Its series; none where nothing is known, because absent is not zero.
    pub values: for<'a> fn(&'a Snapshot) -> Vec<Value<'a>>,
}

/// One series of a [`Row`].
#[derive(Debug, PartialEq)]
pub struct Value<'a> {
    /// Values of the row's labels, in its order.
    pub labels: Vec<&'a str>,
    /// The number.
    pub number: f64,
}

/// Everything that the sidecar exposes, in the order of its exposition.
pub const CATALOGUE: &[Row] = &[
    Row {
        name: "vdi_session_info",
        help: "The session that this desktop pod serves; always 1.",
        kind: MetricType::GAUGE,
        labels: &["session", "template", "pool", "user"],
        values: |snapshot| {
            let session = &snapshot.session;
            vec![value([&session.name, &session.template, &session.pool, &session.user], 1.0)]
        },
    },
    Row {
        name: "vdi_session_start_time_seconds",
        help: "Unix time at which the sidecar started, just before the desktop's own containers.",
        kind: MetricType::GAUGE,
        labels: &[],
        values: |snapshot| vec![value([], unix_seconds(snapshot.started))],
    },
    Row {
        name: "vdi_session_gpu_available",
        help: "Whether a GPU of this session can be read: 1 or 0.",
        kind: MetricType::GAUGE,
        labels: &[],
        values: |snapshot| vec![value([], f64::from(snapshot.gpu.is_ok()))],
    },
    Row {
        name: "vdi_session_gpu_unavailable_info",
        help: "Why no GPU of this session can be read; 1 while that is so.",
        kind: MetricType::GAUGE,
        labels: &["reason"],
        values: |snapshot| {
            snapshot.gpu.as_ref().err().map(|reason| value([reason.as_str()], 1.0)).into_iter().collect()
        },
    },
    Row {
        name: "vdi_session_gpu_attribution_info",
        help: "How the GPU is known to be this session's, what its values cover and how sure that is; always 1.",
        kind: MetricType::GAUGE,
        labels: &["strategy", "scope", "confidence"],
        values: |snapshot| {
            of_gpu(snapshot, |gpu| {
                let by = gpu.attribution;
                Some(value([by.strategy.as_str(), by.scope.as_str(), by.confidence.as_str()], 1.0))
            })
        },
    },
    Row {
        name: "vdi_session_gpu_info",
        help: "The session's GPU by UUID; always 1.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "model", "driver_version"],
        values: |snapshot| {
            of_gpu(snapshot, |gpu| {
                Some(value([&gpu.uuid, text(&gpu.sample.model), text(&gpu.driver_version)], 1.0))
            })
        },
    },
    Row {
        name: "vdi_session_gpu_utilization_ratio",
        help: "Part of the driver's last window, up to a second, in which the GPU worked: 0 to 1.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| of_gpu(snapshot, |gpu| Some(scoped(gpu, gpu.sample.utilization?))),
    },
    Row {
        name: "vdi_session_gpu_busy_seconds_total",
        help: "Seconds that the GPU worked since the sidecar started: utilization times measured time.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "scope"],
        values: busy,
    },
    Row {
        name: "vdi_session_gpu_memory_used_bytes",
        help: "Frame buffer in use, without the driver's reserve.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| of_gpu(snapshot, |gpu| Some(scoped(gpu, gpu.sample.memory?.used as f64))),
    },
    Row {
        name: "vdi_session_gpu_memory_total_bytes",
        help: "Frame buffer of the GPU, the driver's reserve included.",
        kind: MetricType::GAUGE,
        labels: &["gpu"],
        values: |snapshot| of_gpu(snapshot, |gpu| Some(value([&gpu.uuid], gpu.sample.memory?.total as f64))),
    },
    Row {
        name: "vdi_metrics_collect_success",
        help: "Whether the last read found the session's GPU and every value that it supports: 1 or 0.",
        kind: MetricType::GAUGE,
        labels: &[],
        values: |snapshot| of_collection(snapshot, |collection| f64::from(collection.success)),
    },
    Row {
        name: "vdi_metrics_collect_duration_seconds",
        help: "How long the calls of the last read took.",
        kind: MetricType::GAUGE,
        labels: &[],
        values: |snapshot| of_collection(snapshot, |collection| collection.duration.as_secs_f64()),
    },
    Row {
        name: "vdi_metrics_last_collect_timestamp_seconds",
        help: "Unix time at which the last read ended; an old one means that the driver hangs.",
        kind: MetricType::GAUGE,
        labels: &[],
        values: |snapshot| of_collection(snapshot, |collection| unix_seconds(collection.at)),
    },
    Row {
        name: "vdi_metrics_nvml_errors_total",
        help: "NVML calls that failed, by what was asked and what came back.",
        kind: MetricType::COUNTER,
        labels: &["call", "code"],
        values: faults,
    },
    Row {
        name: "vdi_metrics_build_info",
        help: "Version and source revision of the sidecar, and version of the NVML library it opened; always 1.",
        kind: MetricType::GAUGE,
        labels: &["version", "revision", "nvml_version"],
        values: |snapshot| {
            vec![value([runtime::VERSION, runtime::REVISION, text(&snapshot.nvml_version)], 1.0)]
        },
    },
];

fn busy(snapshot: &Snapshot) -> Vec<Value<'_>> {
    snapshot.busy.iter().map(|busy| value([&busy.gpu, busy.scope.as_str()], busy.seconds)).collect()
}

fn faults(snapshot: &Snapshot) -> Vec<Value<'_>> {
    let faults = snapshot.faults.iter();
    faults.map(|(fault, count)| value([fault.call.as_str(), fault.code.as_str()], *count as f64)).collect()
}

fn value<'a, const N: usize>(labels: [&'a str; N], number: f64) -> Value<'a> {
    Value { labels: labels.to_vec(), number }
}

fn scoped(gpu: &Gpu, number: f64) -> Value<'_> {
    value([&gpu.uuid, gpu.attribution.scope.as_str()], number)
}

fn of_gpu<'a>(snapshot: &'a Snapshot, value: impl FnOnce(&'a Gpu) -> Option<Value<'a>>) -> Vec<Value<'a>> {
    snapshot.gpu.as_ref().ok().and_then(value).into_iter().collect()
}

fn of_collection(snapshot: &Snapshot, number: impl FnOnce(&Collection) -> f64) -> Vec<Value<'_>> {
    snapshot.collection.as_ref().map(|collection| value([], number(collection))).into_iter().collect()
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Prometheus adds to every series of ours; a label of the same name would be renamed to `exported_...`.
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
