//! THE table of the sidecar's metrics: one row each. Pure. A label without a value is left out of its series, which
//! Prometheus takes for the same thing.

use std::{borrow::Cow, time::SystemTime};

pub use prometheus::proto::MetricType;

use super::snapshot::{AttributionInfo, Collection, Gpu, Snapshot};
use crate::{
    gpu::{Reading, StreamStats, Throttled},
    runtime,
    sampling::{
        counters::Account,
        scope::{ByScope, Scope},
    },
};

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
    pub labels: Vec<Cow<'a, str>>,
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
        help: "Unix time at which the pod's sandbox was made, just before the desktop's own containers; of the sidecar's start where that is not known.",
        kind: MetricType::GAUGE,
        labels: &[],
        values: |snapshot| vec![value([], unix_seconds(snapshot.started))],
    },
    Row {
        name: "vdi_session_gpu_available",
        help: "Whether a GPU of this session can be read: 1 or 0.",
        kind: MetricType::GAUGE,
        labels: &[],
        values: |snapshot| vec![value([], f64::from(!snapshot.gpus.is_empty()))],
    },
    Row {
        name: "vdi_session_gpu_unavailable_info",
        help: "Why no GPU of this session can be read, or why one of several cannot; 1 while that is so.",
        kind: MetricType::GAUGE,
        labels: &["reason", "gpu"],
        values: unavailable,
    },
    Row {
        name: "vdi_session_gpu_attribution_info",
        help: "How the GPU is known to be this session's, what its values cover and how sure that is; always 1.",
        kind: MetricType::GAUGE,
        labels: &["strategy", "scope", "confidence"],
        values: |snapshot| {
            let known = snapshot.attribution.as_ref().ok().filter(|_| !snapshot.gpus.is_empty());
            let labels =
                |by: &AttributionInfo| [by.strategy.as_str(), by.scope.as_str(), by.confidence.as_str()];
            known.map(|by| value(labels(by), 1.0)).into_iter().collect()
        },
    },
    Row {
        name: "vdi_session_gpu_attribution_passed_info",
        help: "Surer ways to know the session's GPU, and why each does not hold; always 1.",
        kind: MetricType::GAUGE,
        labels: &["strategy", "reason"],
        values: |snapshot| {
            let strategies = snapshot.not_applicable.iter();
            strategies.map(|(strategy, reason)| value([strategy.as_str(), reason.as_str()], 1.0)).collect()
        },
    },
    Row {
        name: "vdi_session_gpu_info",
        help: "The session's GPU by UUID, a slice with its card's, and how it is shared; always 1.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "card", "model", "mig_profile", "sharing", "driver_version"],
        values: info,
    },
    Row {
        name: "vdi_session_gpu_utilization_ratio",
        help: "Part of the time since the last read in which the GPU worked: 0 to 1.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| scoped(snapshot, |gpu| &gpu.shown.utilization, |ratio| ratio),
    },
    Row {
        name: "vdi_session_gpu_busy_seconds_total",
        help: "Seconds that the GPU worked since the sidecar started, from the driver's own samples where it keeps any; the session's own part of a shared GPU from its newest sample at each read.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "scope"],
        values: |snapshot| summed(snapshot, |account| &account.busy),
    },
    Row {
        name: "vdi_session_gpu_allocated_seconds_total",
        help: "Seconds that the session held the GPU since the sidecar started, working or not.",
        kind: MetricType::COUNTER,
        labels: &["gpu"],
        values: |snapshot| of_accounts(snapshot, |account| account.allocated),
    },
    Row {
        name: "vdi_session_gpu_unsampled_seconds_total",
        help: "Of the allocated seconds, those that no sample of the driver speaks of: taken to be as the others of a read that came in time, and idle after a longer silence.",
        kind: MetricType::COUNTER,
        labels: &["gpu"],
        values: |snapshot| of_accounts(snapshot, |account| account.allocated.map(|_| account.unsampled)),
    },
    Row {
        name: "vdi_session_gpu_memory_used_bytes",
        help: "Frame buffer in use, without the driver's reserve.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| scoped(snapshot, |gpu| &gpu.shown.memory, |bytes| bytes as f64),
    },
    Row {
        name: "vdi_session_gpu_memory_peak_bytes",
        help: "Most frame buffer that was in use at a read since the sidecar started.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| {
            let accounts = snapshot.accounts.iter();
            accounts
                .flat_map(|account| by_scope(&account.gpu, account.peak.iter(), |bytes| bytes as f64))
                .collect()
        },
    },
    Row {
        name: "vdi_session_gpu_memory_total_bytes",
        help: "Frame buffer of the GPU or the slice, the driver's reserve included.",
        kind: MetricType::GAUGE,
        labels: &["gpu"],
        values: |snapshot| of_gpus(snapshot, |gpu| Some(gpu.reading.memory?.total as f64)),
    },
    Row {
        name: "vdi_session_gpu_energy_joules_total",
        help: "Energy that the card took while the session held it or a slice of it, since the sidecar started.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "scope"],
        values: |snapshot| summed(snapshot, |account| &account.energy),
    },
    Row {
        name: "vdi_session_gpu_energy_attributed_joules_total",
        help: "The session's own part of that energy: all of it on a card of its own, else by its part of the card's work, which is an estimate.",
        kind: MetricType::COUNTER,
        labels: &["gpu"],
        values: |snapshot| of_accounts(snapshot, |account| account.attributed),
    },
    Row {
        name: "vdi_session_gpu_power_watts",
        help: "Power that the card takes.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| of_cards(snapshot, |reading| Some(f64::from(reading.power?) / 1000.0)),
    },
    Row {
        name: "vdi_session_gpu_temperature_celsius",
        help: "Temperature of the card's chip.",
        kind: MetricType::GAUGE,
        labels: &["gpu"],
        values: |snapshot| of_gpus(snapshot, |gpu| gpu.reading.temperature.map(f64::from)),
    },
    Row {
        name: "vdi_session_gpu_clock_hertz",
        help: "Clock of the card's multiprocessors (`sm`) and of its frame buffer (`memory`).",
        kind: MetricType::GAUGE,
        labels: &["gpu", "domain"],
        values: |snapshot| {
            labelled(snapshot, |gpu| {
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
        help: "Whether the card's clocks are held down, by reason: 1 or 0.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "reason"],
        values: |snapshot| {
            labelled(snapshot, |gpu| {
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
        help: "Part of the encoder's last window in which it worked: 0 to 1.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| scoped(snapshot, |gpu| &gpu.shown.encoder, |ratio| ratio),
    },
    Row {
        name: "vdi_session_gpu_decoder_utilization_ratio",
        help: "Part of the decoder's last window in which it worked: 0 to 1.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| scoped(snapshot, |gpu| &gpu.shown.decoder, |ratio| ratio),
    },
    Row {
        name: "vdi_session_gpu_encoder_sessions",
        help: "Encoder sessions on the GPU.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| of_cards(snapshot, |reading| Some(f64::from(reading.encoding?.sessions))),
    },
    Row {
        name: "vdi_session_gpu_encoder_codec_sessions",
        help: "Encoder sessions on the GPU by codec, while there are any.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope", "codec"],
        values: codecs,
    },
    Row {
        name: "vdi_session_gpu_encoder_frames_per_second",
        help: "Frames that an encoder session makes in a second, the mean of all sessions.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| of_cards(snapshot, |reading| Some(f64::from(reading.encoding?.frames))),
    },
    Row {
        name: "vdi_session_gpu_encoder_latency_seconds",
        help: "Time that a frame spends in the encoder and before it, the mean of all sessions.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| of_cards(snapshot, |reading| Some(f64::from(reading.encoding?.latency) / 1e6)),
    },
    Row {
        name: "vdi_session_gpu_fbc_sessions",
        help: "Frame-buffer captures on the GPU, while there are any.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| of_captures(snapshot, |streams| f64::from(streams.sessions)),
    },
    Row {
        name: "vdi_session_gpu_fbc_frames_per_second",
        help: "Frames that a capture takes in a second, the mean of all, while there are any.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| of_captures(snapshot, |streams| f64::from(streams.frames)),
    },
    Row {
        name: "vdi_session_gpu_fbc_latency_seconds",
        help: "Time that a capture takes for a frame, the mean of all, while there are any.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "scope"],
        values: |snapshot| of_captures(snapshot, |streams| f64::from(streams.latency) / 1e6),
    },
    Row {
        name: "vdi_session_gpu_processes",
        help: "The session's own processes on the GPU, by what their context is for; one that has both counts as graphics.",
        kind: MetricType::GAUGE,
        labels: &["gpu", "kind"],
        values: |snapshot| {
            labelled(snapshot, |gpu| {
                let kinds = gpu.processes.into_iter().flatten();
                kinds.map(|(kind, count)| (kind.as_str(), count as f64)).collect()
            })
        },
    },
    Row {
        name: "vdi_session_gpu_xid_errors_total",
        help: "Faults of the card that the driver reported while the session held it, by NVIDIA's number; `other` where it names none.",
        kind: MetricType::COUNTER,
        labels: &["gpu", "xid"],
        values: xids,
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
        name: "vdi_metrics_clamped_values_total",
        help: "Values of the driver that could not be and were brought back to what can, by kind.",
        kind: MetricType::COUNTER,
        labels: &["value"],
        values: |snapshot| {
            let clamped = snapshot.clamped.iter();
            clamped.map(|(clamp, count)| value([clamp.as_str()], *count as f64)).collect()
        },
    },
    Row {
        name: "vdi_metrics_nvml_calls_total",
        help: "NVML calls, failed ones included.",
        kind: MetricType::COUNTER,
        labels: &[],
        values: |snapshot| vec![value([], snapshot.calls as f64)],
    },
    Row {
        name: "vdi_metrics_nvml_errors_total",
        help: "NVML calls that failed, by what was asked and what came back; what a device does not support is asked for once after each opening of the library.",
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
            vec![value([runtime::VERSION, runtime::REVISION, text(&snapshot.versions.nvml)], 1.0)]
        },
    },
];

fn unavailable(snapshot: &Snapshot) -> Vec<Value<'_>> {
    let whole = snapshot.attribution.as_ref().err().map(|reason| value([reason.as_str(), ""], 1.0));
    let lost = snapshot.lost.iter().map(|(gpu, reason)| value([reason.as_str(), gpu], 1.0));
    whole.into_iter().chain(lost).collect()
}

fn info(snapshot: &Snapshot) -> Vec<Value<'_>> {
    snapshot
        .gpus
        .iter()
        .map(|gpu| {
            let device = &gpu.device;
            let card = device.slice.as_ref().map_or("", |slice| &slice.card);
            let model = text(&device.model);
            // `NVIDIA A100-SXM4-40GB MIG 1g.5gb`.
            let (model, profile) =
                model.split_once(" MIG ").filter(|_| device.slice.is_some()).unwrap_or((model, ""));
            value(
                [
                    &device.uuid,
                    card,
                    model,
                    profile,
                    gpu.ours.sharing.as_str(),
                    text(&snapshot.versions.driver),
                ],
                1.0,
            )
        })
        .collect()
}

fn xids(snapshot: &Snapshot) -> Vec<Value<'_>> {
    let word = |code: Option<u64>| code.map_or(Cow::Borrowed("other"), |code| code.to_string().into());
    let of = |account: &Account| {
        account.xids.iter().map(move |(code, count)| (word(*code), *count as f64)).collect::<Vec<_>>()
    };
    let accounts = snapshot.accounts.iter();
    accounts
        .flat_map(|account| {
            of(account)
                .into_iter()
                .map(|(code, count)| labels(vec![Cow::Borrowed(&account.gpu), code], count))
        })
        .collect()
}

fn codecs(snapshot: &Snapshot) -> Vec<Value<'_>> {
    let of_codecs =
        snapshot.gpus.iter().flat_map(|gpu| gpu.reading.codecs.iter().map(move |codec| (gpu, codec)));
    of_codecs
        .map(|(gpu, (codec, count))| {
            value([&gpu.device.uuid, gpu.card_scope().as_str(), codec.as_str()], f64::from(*count))
        })
        .collect()
}

fn faults(snapshot: &Snapshot) -> Vec<Value<'_>> {
    let faults = snapshot.faults.iter();
    faults.map(|(fault, count)| value([fault.call.as_str(), fault.code.as_str()], *count as f64)).collect()
}

fn value<'a, const N: usize>(texts: [&'a str; N], number: f64) -> Value<'a> {
    labels(texts.map(Cow::Borrowed).to_vec(), number)
}

fn labels(labels: Vec<Cow<'_, str>>, number: f64) -> Value<'_> {
    Value { labels, number }
}

/// One series for each device that was read.
fn of_gpus<'a>(snapshot: &'a Snapshot, number: impl Fn(&'a Gpu) -> Option<f64>) -> Vec<Value<'a>> {
    snapshot.gpus.iter().filter_map(|gpu| Some(value([&gpu.device.uuid], number(gpu)?))).collect()
}

/// One series for each device that was read, with the scope of a value that is the whole card's: a slice's neighbours have
/// their part in it.
fn of_cards<'a>(snapshot: &'a Snapshot, number: impl Fn(&'a Reading) -> Option<f64>) -> Vec<Value<'a>> {
    let of = |gpu: &'a Gpu| Some(value([&gpu.device.uuid, gpu.card_scope().as_str()], number(&gpu.reading)?));
    snapshot.gpus.iter().filter_map(of).collect()
}

fn of_captures<'a>(snapshot: &'a Snapshot, number: impl Fn(StreamStats) -> f64) -> Vec<Value<'a>> {
    of_cards(snapshot, |reading| reading.capturing.filter(|streams| streams.sessions > 0).map(&number))
}

/// Several series for each device that was read, told apart by a word.
fn labelled<'a>(snapshot: &'a Snapshot, numbers: impl Fn(&'a Gpu) -> Vec<(&'a str, f64)>) -> Vec<Value<'a>> {
    let of = |gpu: &'a Gpu| {
        numbers(gpu)
            .into_iter()
            .map(|(word, number)| value([&gpu.device.uuid, word], number))
            .collect::<Vec<_>>()
    };
    snapshot.gpus.iter().flat_map(of).collect()
}

fn scoped<'a, T: Copy + 'a>(
    snapshot: &'a Snapshot,
    values: impl Fn(&'a Gpu) -> &'a ByScope<T>,
    number: impl Fn(T) -> f64,
) -> Vec<Value<'a>> {
    let of = |gpu: &'a Gpu| by_scope(&gpu.device.uuid, values(gpu).iter(), &number);
    snapshot.gpus.iter().flat_map(of).collect()
}

fn summed<'a>(snapshot: &'a Snapshot, sums: impl Fn(&'a Account) -> &'a ByScope<f64>) -> Vec<Value<'a>> {
    snapshot
        .accounts
        .iter()
        .flat_map(|account| by_scope(&account.gpu, sums(account).iter(), |sum| sum))
        .collect()
}

fn by_scope<'a, T>(
    gpu: &'a str,
    values: impl Iterator<Item = (Scope, T)>,
    number: impl Fn(T) -> f64,
) -> Vec<Value<'a>> {
    values.map(|(scope, it)| value([gpu, scope.as_str()], number(it))).collect()
}

fn of_accounts<'a>(snapshot: &'a Snapshot, sum: impl Fn(&'a Account) -> Option<f64>) -> Vec<Value<'a>> {
    snapshot.accounts.iter().filter_map(|account| Some(value([&account.gpu], sum(account)?))).collect()
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
