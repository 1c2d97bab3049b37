//! Two desktops that encode and capture on one card, and a third encoder outside of pods.

use std::fs;

use fake_nvml::{Behaviour, Device, Scenario, Stream, Symbol};
use kit::exposition::Exposition;
use vdi_metrics::contract::REPORT;

use super::node_fixture::*;

const CARD: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
const ALICE: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const BOB: &str = "bbbbbbbb-0000-4000-8000-000000000002";

/// `nvmlEncoderType_t`; the last one is `NVML_ENCODER_QUERY_UNKNOWN`.
const H264: u32 = 0;
const HEVC: u32 = 1;
const AV1: u32 = 2;
const OTHER: u32 = 255;

/// Alice's process 101 encodes H.264, and 111, which is in no list of processes, encodes HEVC. Bob's process 202 encodes AV1 and
/// captures. Process 303 of the node encodes and captures. Process 404 has ended, and the last session is of a virtual machine in
/// which a process has Alice's PID.
fn scenario() -> Scenario {
    let process = |pid| fake_nvml::Process { pid, memory: Some(1 << 30), ends_after_lists: None };
    let session = |pid, codec, frames, latency| Stream { pid, codec, frames, latency, ..Stream::default() };
    let card = Device {
        uuid: Some(CARD.into()),
        graphics: Some(vec![process(101), process(202), process(303)]),
        compute: Some(vec![]),
        process_utilization: Some(vec![]),
        encoding: Some([6, 41, 4321]),
        encoder_sessions: Some(vec![
            session(101, H264, 60, 4000),
            session(111, HEVC, 31, 2000),
            session(202, AV1, 24, 8000),
            session(303, OTHER, 25, 5000),
            session(404, H264, 26, 6000),
            Stream { vgpu_instance: 9, ..session(101, H264, 27, 7000) },
        ]),
        capturing: Some([2, 55, 1200]),
        captures: Some(vec![session(202, 0, 50, 1500), session(303, 0, 60, 900)]),
        ..Device::default()
    };
    Scenario { driver_version: Some("580.95.05".into()), devices: vec![card], ..Scenario::default() }
}

fn node(scenario: &Scenario) -> Node {
    let node = Node::new(scenario);
    node.add_session(ALICE, 101);
    node.add_session(BOB, 202);
    node.add_process(111, &format!("/kubepods/burstable/pod{ALICE}/{}", "a".repeat(64)));
    node.add_process(303, "/user.slice/display.service");
    node
}

fn value(seen: &Exposition, metric: &str, scope: &str) -> Option<f64> {
    seen.value(&format!("vdi_session_gpu_{metric}"), &[("gpu", CARD), ("scope", scope)])
}

/// Sessions, frames per second, and seconds of the encoder sessions or the captures.
fn streams(seen: &Exposition, kind: &str, scope: &str) -> Option<[f64; 3]> {
    let metrics = ["sessions", "frames_per_second", "latency_seconds"];
    let values = metrics.map(|metric| value(seen, &format!("{kind}_{metric}"), scope));
    assert!(values.iter().all(|value| value.is_some() == values[0].is_some()), "{kind}: {values:?}");
    values[0].map(|_| values.map(Option::unwrap_or_default))
}

/// Codecs and numbers of sessions.
fn codecs(seen: &Exposition, scope: &str) -> Vec<(String, f64)> {
    let series = seen.series("vdi_session_gpu_encoder_codec_sessions");
    let series = series.filter(|series| series.labels["scope"] == scope);
    series.map(|series| (series.labels["codec"].clone(), series.value)).collect()
}

fn counted(codecs: &[&str]) -> Vec<(String, f64)> {
    codecs.iter().map(|codec| ((*codec).to_owned(), 1.0)).collect()
}

#[test]
fn each_desktop_shows_its_own_encoder_sessions_and_captures() {
    let node = node(&scenario());
    let _agent = node.start_agent();
    let expected = [
        (ALICE, [2.0, 45.0, 0.003], counted(&["h264", "hevc"]), None),
        (BOB, [1.0, 24.0, 0.008], counted(&["av1"]), Some([1.0, 50.0, 0.0015])),
    ];
    for (uid, encoder, own_codecs, captures) in expected {
        let sidecar = node.start_sidecar(uid);
        let seen = sidecar
            .scrape_until("the encoder sessions", |seen| streams(seen, "encoder", "session").is_some());
        assert_eq!(streams(&seen, "encoder", "session"), Some(encoder));
        assert_eq!(codecs(&seen, "session"), own_codecs);
        assert_eq!(streams(&seen, "fbc", "session"), captures);
        assert_eq!(streams(&seen, "encoder", "device"), Some([6.0, 41.0, 0.004321]));
        assert_eq!(streams(&seen, "fbc", "device"), Some([2.0, 55.0, 0.0012]));
        assert_eq!(codecs(&seen, "device").iter().map(|(_, count)| count).sum::<f64>(), 6.0);
    }
}

/// The driver lists the session's only process on the card as an encoder, and in no list of processes.
#[test]
fn a_desktop_that_only_encodes_has_the_card() {
    let node = Node::new(&scenario());
    node.add_session(ALICE, 111);
    node.add_process(303, "/user.slice/display.service");
    let _agent = node.start_agent();
    let sidecar = node.start_sidecar(ALICE);
    sidecar.scrape_until("the encoder session", |seen| {
        streams(seen, "encoder", "session") == Some([1.0, 31.0, 0.002])
    });
}

/// Bob's report must not show what other pods run.
#[test]
fn a_report_has_no_process_of_another_pod() {
    fn numbers(value: &serde_json::Value) -> Vec<u64> {
        match value {
            serde_json::Value::Array(values) => values.iter().flat_map(numbers).collect(),
            serde_json::Value::Object(fields) => fields.values().flat_map(numbers).collect(),
            value => value.as_u64().into_iter().collect(),
        }
    }
    let node = node(&scenario());
    let _agent = node.start_agent();
    let sidecar = node.start_sidecar(BOB);
    sidecar.scrape_until("the captures", |seen| streams(seen, "fbc", "session").is_some());
    let report = fs::read(node.volume(BOB).join(REPORT)).unwrap();
    let numbers = numbers(&serde_json::from_slice(&report).unwrap());
    assert!(numbers.contains(&202));
    // PIDs, frames and latencies of the others.
    let of_others = [101, 111, 303, 404, 31, 25, 26, 27, 4000, 2000, 5000, 900];
    assert!(of_others.iter().all(|number| !numbers.contains(number)), "{numbers:?}");
}

/// The driver fails to list the sessions, or lists fewer than it counts. Then nothing is known about one desktop.
#[test]
fn an_incomplete_list_gives_no_value_of_a_desktop_and_no_session_gives_zero() {
    let with = |change: &dyn Fn(&mut Device)| {
        let mut scenario = scenario();
        change(&mut scenario.devices[0]);
        scenario
    };
    let node = node(&scenario());
    let _agent = node.start_agent();
    let sidecar = node.start_sidecar(ALICE);
    let failing = |symbol| with(&move |card| card.calls = [(symbol, Behaviour::failing(999))].into());
    let fewer = |card: &mut Device| card.encoder_sessions.as_mut().unwrap().truncate(5);
    for (scenario, success) in [(failing(Symbol::nvmlDeviceGetEncoderSessions), 0.0), (with(&fewer), 1.0)] {
        node.play(&scenario);
        sidecar.scrape_until("no encoder sessions of the desktop", |seen| {
            streams(seen, "encoder", "session").is_none()
                && codecs(seen, "session").is_empty()
                && value(seen, "encoder_sessions", "device") == Some(6.0)
                && seen.value("vdi_metrics_collect_success", &[]) == Some(success)
        });
    }
    let bob = node.start_sidecar(BOB);
    bob.scrape_until("the captures", |seen| streams(seen, "fbc", "session").is_some());
    node.play(&failing(Symbol::nvmlDeviceGetFBCSessions));
    bob.scrape_until("no captures of the desktop", |seen| {
        streams(seen, "fbc", "session").is_none()
            && value(seen, "fbc_sessions", "device") == Some(2.0)
            && streams(seen, "encoder", "session") == Some([1.0, 24.0, 0.008])
            && seen.value("vdi_metrics_collect_success", &[]) == Some(0.0)
    });
    node.play(&with(&|card| (card.encoding, card.encoder_sessions) = (Some([0; 3]), None)));
    sidecar.scrape_until("zero encoder sessions", |seen| {
        streams(seen, "encoder", "session") == Some([0.0; 3]) && codecs(seen, "session").is_empty()
    });
}

/// The pod of one process cannot be read. It may be any desktop.
#[test]
fn a_session_of_a_process_with_an_unreadable_pod_makes_all_own_sessions_unknown() {
    let node = node(&scenario());
    node.add_process(111, "not a path");
    let agent = node.start_agent();
    let sidecar = node.start_sidecar(BOB);
    let seen = sidecar.scrape_until("the captures", |seen| streams(seen, "fbc", "session").is_some());
    assert_eq!(streams(&seen, "encoder", "session"), None);
    assert_eq!(value(&seen, "encoder_sessions", "device"), Some(6.0));
    let unreadable = [("reason", "process_unreadable")];
    agent.scrape_until("the failure", |seen| {
        seen.value("vdi_metrics_node_failures_total", &unreadable) > Some(0.0)
    });
}

/// Every value that a sidecar on a shared card can show. Own encoder sessions and captures are 7 more series than without the agent,
/// and 4 strategies fewer were tried before.
#[test]
fn a_session_of_the_node_agent_has_at_most_51_series() {
    let mut scenario = scenario();
    scenario.nvml_version = Some("13.580.95.05".into());
    let card = &mut scenario.devices[0];
    card.name = Some("NVIDIA L40S".into());
    card.utilization = Some(fake_nvml::Utilization { gpu: 60, memory: 10 });
    card.memory = Some(fake_nvml::Memory { total: 48 << 30, reserved: 0, used: 7 << 30 });
    let sample = fake_nvml::ProcessUtilization { pid: 202, sm: 10, encoder: 10, ..Default::default() };
    card.process_utilization = Some(vec![sample]);
    card.samples = Some(fake_nvml::Samples { period_us: 166_667, length: 100, ..Default::default() });
    (card.encoder_percent, card.decoder_percent) = (Some(12), Some(3));
    (card.energy_millijoules, card.power_milliwatts) = (Some(987_654_321), Some(123_400));
    (card.temperature_celsius, card.throttle_reasons, card.compute_mode) = (Some(61), Some(0), Some(0));
    (card.sm_megahertz, card.memory_megahertz, card.xids) = (Some(2520), Some(9001), Some(vec![]));
    // All processes use one codec.
    card.encoder_sessions.as_mut().unwrap().iter_mut().for_each(|session| session.codec = AV1);
    let node = node(&scenario);
    let agent = node.start_agent();
    // A sidecar that starts before the first report has one more series: it counts that its container has no library.
    agent.scrape_until("the reports", |seen| seen.value("vdi_metrics_node_reports_total", &[]) > Some(0.0));
    let sidecar = node.start_sidecar(BOB);
    let seen = sidecar.scrape_until("the energy", |seen| {
        seen.series("vdi_session_gpu_energy_attributed_joules_total").next().is_some()
    });
    let counts = vdi_metrics::sidecar::catalogue::CATALOGUE.iter().map(|row| seen.series(row.name).count());
    let count: usize = counts.sum();
    assert_eq!(count, 51);
}
