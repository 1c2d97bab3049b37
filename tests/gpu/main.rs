//! The sidecar on a machine with a real driver. Every metric of the catalogue must exist with a possible value, or a failed driver
//! call must explain its absence. Run by `make gpu`. Without a driver the suite prints one line and succeeds; with `REQUIRE_GPU=1`
//! it fails.
#![allow(clippy::disallowed_methods, reason = "tests have environment variables of their own")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program with its own output"
)]

use std::{
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use kit::{exposition::Exposition, http, process::Process};
use vdi_metrics::{
    contract::{METRICS_PATH, env},
    runtime::catalogue::MetricType,
    sidecar::catalogue::CATALOGUE,
};

/// Minimum and maximum of a metric. Metrics that are not listed are counts, times or always 1.
const RANGES: &[(&str, f64, f64)] = &[
    ("vdi_session_gpu_available", 1.0, 1.0),
    ("vdi_session_gpu_utilization_ratio", 0.0, 1.0),
    ("vdi_session_gpu_encoder_utilization_ratio", 0.0, 1.0),
    ("vdi_session_gpu_decoder_utilization_ratio", 0.0, 1.0),
    ("vdi_session_gpu_memory_used_bytes", 0.0, 1e12),
    ("vdi_session_gpu_memory_peak_bytes", 0.0, 1e12),
    ("vdi_session_gpu_memory_total_bytes", 1e8, 1e12),
    ("vdi_session_gpu_power_watts", 0.5, 3000.0),
    ("vdi_session_gpu_temperature_celsius", 1.0, 120.0),
    ("vdi_session_gpu_clock_hertz", 1e6, 1e11),
    ("vdi_session_gpu_throttled", 0.0, 1.0),
    ("vdi_session_gpu_busy_seconds_total", 0.0, 60.0),
    ("vdi_session_gpu_allocated_seconds_total", 1.0, 60.0),
    ("vdi_session_gpu_unsampled_seconds_total", 0.0, 60.0),
    ("vdi_session_gpu_energy_joules_total", 0.0, 180_000.0),
    ("vdi_metrics_collect_duration_seconds", 0.0, 2.0),
];

/// Metrics that may be absent, with the driver calls of which one must then have failed. Metrics without calls exist only at times.
const ABSENT: &[(&str, &[&str])] = &[
    ("vdi_session_gpu_unavailable_info", &[]),
    ("vdi_session_gpu_attribution_passed_info", &[]),
    ("vdi_session_gpu_encoder_codec_sessions", &[]),
    ("vdi_session_gpu_fbc_sessions", &[]),
    ("vdi_session_gpu_fbc_frames_per_second", &[]),
    ("vdi_session_gpu_fbc_latency_seconds", &[]),
    ("vdi_session_gpu_xid_errors_total", &[]),
    ("vdi_metrics_clamped_values_total", &[]),
    ("vdi_metrics_nvml_errors_total", &[]),
    // Exists only in a pod with a shared process namespace, with driver 570 or later.
    ("vdi_session_gpu_processes", &[]),
    ("vdi_session_gpu_utilization_ratio", &["utilization"]),
    ("vdi_session_gpu_busy_seconds_total", &["utilization"]),
    ("vdi_session_gpu_memory_used_bytes", &["memory"]),
    ("vdi_session_gpu_memory_peak_bytes", &["memory"]),
    ("vdi_session_gpu_memory_total_bytes", &["memory"]),
    ("vdi_session_gpu_energy_joules_total", &["energy"]),
    ("vdi_session_gpu_energy_attributed_joules_total", &["energy", "utilization"]),
    ("vdi_session_gpu_energy_idle_joules_total", &["energy", "utilization"]),
    ("vdi_session_gpu_power_watts", &["power"]),
    ("vdi_session_gpu_temperature_celsius", &["temperature"]),
    ("vdi_session_gpu_clock_hertz", &["sm_clock", "memory_clock"]),
    ("vdi_session_gpu_throttled", &["throttled"]),
    ("vdi_session_gpu_encoder_utilization_ratio", &["encoder"]),
    ("vdi_session_gpu_decoder_utilization_ratio", &["decoder"]),
    ("vdi_session_gpu_encoder_sessions", &["encoder_stats"]),
    ("vdi_session_gpu_encoder_frames_per_second", &["encoder_stats"]),
    ("vdi_session_gpu_encoder_latency_seconds", &["encoder_stats"]),
];

/// Duration of the test: long enough for three polls at the shortest interval that a real library allows.
const DURATION: Duration = Duration::from_secs(16);

fn main() -> ExitCode {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vdi-metrics-sidecar"));
    // All visible GPUs are attributed to the session, as with a claim.
    command.env(env::LISTEN, "127.0.0.1:0").env(env::INTERVAL, "5").env(env::GPU_ACCESS, "claims");
    let sidecar = Process::spawn(&mut command);
    let address = sidecar.address();
    let began = Instant::now();
    let mut earlier = None;
    let exposition = loop {
        let page = http::get(address, METRICS_PATH).unwrap().body;
        let current = Exposition::parse(&page).unwrap();
        let reason = current
            .series("vdi_session_gpu_unavailable_info")
            .next()
            .map(|series| series.labels["reason"].clone());
        match reason.as_deref() {
            Some("library_missing" | "driver_not_loaded") => return not_run(),
            _ if began.elapsed() > DURATION => break current,
            _ if began.elapsed() > DURATION / 2 && earlier.is_none() => earlier = Some(current),
            _ => thread::sleep(Duration::from_millis(200)),
        }
    };
    let mut errors = errors(&exposition);
    errors.extend(earlier.iter().flat_map(|earlier| decreased_counters(earlier, &exposition)));
    for error in &errors {
        println!("{error}");
    }
    let present = CATALOGUE.iter().filter(|row| exposition.series(row.name).next().is_some()).count();
    println!("{present} of {} metrics are present, {} errors", CATALOGUE.len(), errors.len());
    if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn not_run() -> ExitCode {
    eprintln!("gpu suite not run: no NVIDIA driver on this machine");
    let required = std::env::var_os("REQUIRE_GPU").is_some_and(|value| value == "1");
    if required { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn errors(exposition: &Exposition) -> Vec<String> {
    let mut errors = vec![];
    for row in CATALOGUE {
        let values: Vec<f64> = exposition.series(row.name).map(|series| series.value).collect();
        let range = RANGES.iter().find(|(name, ..)| *name == row.name);
        let (min, max) = range.map_or((0.0, f64::MAX), |(_, min, max)| (*min, *max));
        for value in values.iter().filter(|value| !(min..=max).contains(*value)) {
            errors.push(format!("{} is {value}, expected {min} to {max}", row.name));
        }
        if values.is_empty() && !is_absence_explained(exposition, row.name) {
            errors.push(format!("{} is absent, and no failed call explains that", row.name));
        }
    }
    errors
}

/// Counters that have decreased or disappeared.
fn decreased_counters(earlier: &Exposition, exposition: &Exposition) -> Vec<String> {
    let counters = CATALOGUE.iter().filter(|row| row.kind == MetricType::COUNTER);
    let series = counters.flat_map(|row| earlier.series(row.name).map(|series| (row.name, series)));
    let decreased = series.filter(|(name, before)| {
        let now = exposition.series(name).find(|series| series.labels == before.labels);
        now.is_none_or(|now| now.value < before.value)
    });
    decreased.map(|(name, before)| format!("{name} is below its earlier value {}", before.value)).collect()
}

fn is_absence_explained(exposition: &Exposition, name: &str) -> bool {
    let Some((_, calls)) = ABSENT.iter().find(|(row, _)| *row == name) else { return false };
    let failed = |call: &&str| {
        let mut errors = exposition.series("vdi_metrics_nvml_errors_total");
        errors.any(|series| series.labels["call"] == **call)
    };
    calls.is_empty() || calls.iter().any(failed)
}
