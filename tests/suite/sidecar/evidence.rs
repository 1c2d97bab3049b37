//! What the pod requests, evidence that cannot be read, and signals of the desktop.

use std::{fs, path::Path, process::Command};

use fake_nvml::{Device, Scenario, Symbol};
use kit::{exposition::Exposition, process::Signal};
use vdi_metrics::contract::env;

use super::{driver_scenarios::*, pod_fixture::PodFixture, running_sidecar::*};

const CALLS: &str = "vdi_metrics_nvml_calls_total";
const UNREADABLE: &str = "vdi_metrics_unreadable_evidence_total";
const METADATA: &str =
    "var/run/kubernetes.io/dra-device-attributes/resourceclaims/gpu/gpu/gpu.nvidia.com-metadata.json";

fn two_gpus() -> Scenario {
    let mut two = busy_gpu();
    two.devices.push(Device { uuid: Some(OTHER_UUID.into()), ..two.devices[0].clone() });
    two
}

fn attributed_by(seen: &Exposition, strategy: &str, confidence: &str) -> bool {
    let labels = [("strategy", strategy), ("confidence", confidence)];
    seen.value("vdi_session_gpu_attribution_info", &labels) == Some(1.0)
}

fn unreadable_polls(seen: &Exposition, evidence: &str) -> f64 {
    seen.value(UNREADABLE, &[("evidence", evidence)]).unwrap_or_default()
}

/// Waits for the end of a poll that began after this call.
fn next_poll(sidecar: &RunningSidecar) -> Exposition {
    (0..2).fold(sidecar.scrape(), |before, _| {
        let time = before.value(LAST_COLLECT, &[]);
        sidecar.scrape_until("a poll", |seen| seen.value(LAST_COLLECT, &[]) > time)
    })
}

/// Whether the process has the fake driver's library in its memory.
fn has_library(sidecar: &RunningSidecar) -> bool {
    let maps = fs::read_to_string(format!("/proc/{}/maps", sidecar.process.id())).unwrap();
    maps.contains("fake_nvml")
}

/// The annotation names a replica. Without it, the only visible card would be the session's alone.
#[test]
fn an_unreadable_annotation_keeps_its_last_value() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
    sidecar.annotate(&format!("{UUID}::1"));
    sidecar.scrape_until("the annotation", |seen| attributed_by(seen, "handed_over", "exact"));
    sidecar.make_unreadable(&annotations());
    let held = sidecar.scrape_until("the failure", |seen| unreadable_polls(seen, "annotations") > 2.0);
    assert!(attributed_by(&held, "handed_over", "remembered"));
    assert_eq!((held.value(SUCCESS, &[]), held.value(AVAILABLE, &[])), (Some(0.0), Some(1.0)));
    assert_eq!(held.value("vdi_session_gpu_info", &[("sharing", "time-slicing")]), Some(1.0));
    sidecar.annotate(OTHER_UUID);
    let other = sidecar.scrape_until("the next annotation", |seen| seen.value(AVAILABLE, &[]) == Some(0.0));
    assert_eq!(unavailable(&other), "not_visible");
    sidecar.process.logged("Cannot read evidence; the last value that could be read is used");
    sidecar.process.logged("Evidence can be read again");
}

#[test]
fn half_written_claim_metadata_keeps_its_last_value() {
    let metadata = |uuid: &str| {
        format!(r#"{{"requests": [{{"devices": [{{"attributes": {{"uuid": {{"string": "{uuid}"}}}}}}]}}]}}"#)
    };
    let sidecar = RunningSidecar::start(&two_gpus(), &[FAST, (env::GPU_ACCESS, "claims")]);
    fs::create_dir_all(sidecar.root.join(METADATA).parent().unwrap()).unwrap();
    let write = |text: &str| sidecar.replace(Path::new(METADATA), |next| fs::write(next, text).unwrap());
    write(&metadata(UUID));
    sidecar.scrape_until("the metadata", |seen| seen.series("vdi_session_gpu_info").count() == 1);
    let before = next_poll(&sidecar);
    write(&metadata(OTHER_UUID)[..40]);
    let held = sidecar.scrape_until("the failure", |seen| unreadable_polls(seen, "claim_metadata") > 2.0);
    assert!(attributed_by(&held, "claim", "remembered"));
    assert_eq!(total(&held, "allocated", OTHER_UUID), total(&before, "allocated", OTHER_UUID));
    assert!(total(&held, "allocated", UUID) > total(&before, "allocated", UUID));
    write(&metadata(OTHER_UUID));
    sidecar.scrape_until("the end", |seen| {
        attributed_by(seen, "claim", "exact") && total(seen, "busy", OTHER_UUID) > 0.0
    });
}

#[test]
fn nothing_is_attributed_before_the_annotations_can_be_read() {
    let mut pod = PodFixture::default();
    pod.unreadable.push(annotations());
    let sidecar = RunningSidecar::start_in_pod(&pod, &busy_gpu(), &[FAST]);
    let seen = sidecar.scrape_until("some polls", |seen| unreadable_polls(seen, "annotations") > 2.0);
    assert_eq!(unavailable(&seen), "unreadable");
    assert_eq!((total(&seen, "allocated", UUID), seen.value(SUCCESS, &[])), (0.0, Some(0.0)));
    sidecar.write_annotations("");
    sidecar.scrape_until("the card", |seen| attributed_by(seen, "single_device", "good"));
    sidecar.scrape_until("success", |seen| seen.value(SUCCESS, &[]) == Some(1.0));
}

/// The card that is visible belongs to another pod.
#[test]
fn a_pod_without_a_request_does_not_open_the_driver() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST, (env::GPU_REQUEST, "none")]);
    sidecar.first_poll();
    let idle = next_poll(&sidecar);
    assert_eq!(unavailable(&idle), "not_requested");
    assert_eq!((idle.value(SUCCESS, &[]), idle.value(CALLS, &[])), (Some(1.0), Some(0.0)));
    assert!(!has_library(&sidecar));
    // The operator's word.
    sidecar.write_annotations("vdi-metrics.io/gpu-sharing=\"exclusive\"\n");
    let busy = sidecar.scrape_until("the card", |seen| total(seen, "busy", UUID) > 0.05);
    assert!(attributed_by(&busy, "single_device", "good") && has_library(&sidecar));
    sidecar.write_annotations("");
    let closed = sidecar.scrape_until("the end", |seen| seen.value(AVAILABLE, &[]) == Some(0.0));
    assert_eq!(unavailable(&closed), "not_requested");
    let later = next_poll(&sidecar);
    for name in [CALLS, "vdi_session_gpu_allocated_seconds_total", SUCCESS] {
        assert_eq!(later.value(name, &[]), closed.value(name, &[]), "{name}");
    }
    let (status, message) = sidecar.end();
    assert_eq!((status, &message["by"]), (Some(0), &serde_json::json!(["none", "not_requested"])));
}

/// An annotation that names another card ends the allocation, also while the driver is away.
#[test]
fn a_card_is_released_while_the_driver_is_away() {
    let sidecar = RunningSidecar::start(&two_gpus(), &[FAST]);
    sidecar.annotate(UUID);
    sidecar.scrape_until("busy time", |seen| total(seen, "busy", UUID) > 0.05);
    let mut away = two_gpus();
    away.calls = failing(Symbol::nvmlInit_v2, 9).calls;
    away.calls.extend(failing(Symbol::nvmlDeviceGetCount_v2, 9).calls);
    sidecar.play(&away);
    sidecar.scrape_until("the loss", |seen| seen.value(AVAILABLE, &[]) == Some(0.0));
    sidecar.annotate(OTHER_UUID);
    next_poll(&sidecar);
    let released = next_poll(&sidecar);
    let later = next_poll(&sidecar);
    assert_eq!(total(&later, "allocated", UUID), total(&released, "allocated", UUID));
}

/// As `kill -HUP -1` in a desktop that runs as root and shares its processes.
#[test]
fn only_sigterm_and_sigint_end_the_sidecar() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
    sidecar.first_poll();
    let faults =
        [Signal::ILL, Signal::TRAP, Signal::ABORT, Signal::BUS, Signal::FPE, Signal::SEGV, Signal::SYS];
    let kept = [&faults[..], &[Signal::KILL, Signal::STOP, Signal::TERM, Signal::INT]].concat();
    let kept: Vec<i32> = kept.into_iter().map(Signal::as_raw).collect();
    // glibc keeps 32 and 33 for itself.
    for signal in (1..=31).chain(34..=64).filter(|signal| !kept.contains(signal)) {
        // rustix sends no real-time signals.
        let kill = format!("kill -{signal} {}", sidecar.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
        next_poll(&sidecar);
    }
    let (status, message) = sidecar.end();
    assert_eq!((status, &message["ended"]), (Some(0), &true.into()));
}

/// As from a pod that is deleted twice, or from a container runtime that is started again.
#[test]
fn a_second_signal_does_not_prevent_the_termination_message() {
    for signal in [Signal::TERM, Signal::INT] {
        let sidecar = RunningSidecar::start(&busy_gpu(), &[FAST]);
        sidecar.first_poll();
        sidecar.play(&hanging(Symbol::nvmlDeviceGetUtilizationRates));
        sidecar.process.signal(signal);
        sidecar.process.logged("Shutting down");
        sidecar.process.signal(signal);
        // Sends SIGTERM once more.
        let (status, message) = sidecar.end();
        assert_eq!((status, &message["ended"]), (Some(0), &true.into()));
    }
}
