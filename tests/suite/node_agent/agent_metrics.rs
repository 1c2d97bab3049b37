//! The agent's metrics about itself, and its readiness.

use fake_nvml::{Behaviour, Device, Memory, Samples, Scenario, Symbol, Utilization};
use kit::{exposition::Exposition, process::eventually};
use vdi_metrics::contract::REPORT;

use super::node_fixture::*;

const CARDS: [&str; 2] =
    ["GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035", "GPU-6fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035"];
const ALICE: &str = "aaaaaaaa-0000-4000-8000-000000000001";

/// Two cards without processes that are busy for half of the time.
fn scenario() -> Scenario {
    let card = |uuid: &str| Device {
        uuid: Some(uuid.into()),
        name: Some("NVIDIA L40S".into()),
        utilization: Some(Utilization { gpu: 50, memory: 10 }),
        memory: Some(Memory { total: 48 << 30, reserved: 0, used: 7 << 30 }),
        graphics: Some(vec![]),
        compute: Some(vec![]),
        process_utilization: Some(vec![]),
        ..Device::default()
    };
    driver_with(CARDS.map(card).to_vec())
}

/// A node whose kernel driver is not loaded (`NVML_ERROR_DRIVER_NOT_LOADED`).
fn without_driver() -> Scenario {
    Scenario { calls: [(Symbol::nvmlInit_v2, Behaviour::failing(9))].into(), ..Scenario::default() }
}

/// The scenario with one process on the second card.
fn with_process(pid: u32) -> Scenario {
    let mut scenario = scenario();
    let process = fake_nvml::Process { pid, memory: Some(1 << 30), ends_after_lists: None };
    scenario.devices[1].graphics = Some(vec![process]);
    scenario
}

fn polled(seen: &Exposition) -> bool {
    seen.value("vdi_metrics_node_last_poll_timestamp_seconds", &[]).is_some()
}

#[test]
fn every_reason_has_a_series_and_every_device_its_identity() {
    let node = Node::new(&scenario());
    let agent = node.start_agent();
    let seen = agent.scrape_until("the first poll", polled);
    let failures: Vec<_> = seen.series("vdi_metrics_node_failures_total").collect();
    assert!(failures.len() >= 9 && failures.iter().all(|series| series.value == 0.0), "{failures:?}");
    for card in CARDS {
        let labels = [("gpu", card), ("model", "NVIDIA L40S"), ("driver_version", "580.95.05")];
        assert_eq!(seen.value("vdi_gpu_info", &labels), Some(1.0));
        assert_eq!(seen.value("vdi_gpu_memory_total_bytes", &[("gpu", card)]), Some((48_u64 << 30) as f64));
        assert_eq!(seen.value("vdi_gpu_sessions", &[("gpu", card)]), Some(0.0));
    }
    assert_eq!(seen.value("vdi_metrics_node_report_age_seconds", &[]), None, "this node has no session");
}

/// The age grows while the driver does not answer.
#[test]
fn the_age_of_the_reports_is_that_of_their_values() {
    let node = Node::new(&with_process(101));
    node.add_session(ALICE, 101);
    let agent = node.start_agent();
    let age = |seen: &Exposition| seen.value("vdi_metrics_node_report_age_seconds", &[]);
    let first = agent.scrape_until("the first report", |seen| age(seen).is_some());
    assert!(age(&first) < Some(5.0), "{:?}", age(&first));
    let hung = Behaviour { delay_ms: 3_000, ..Behaviour::default() };
    node.play(&Scenario { calls: [(Symbol::nvmlDeviceGetUUID, hung)].into(), ..with_process(101) });
    agent.scrape_until("an old report", |seen| age(seen) > Some(2.0));
    node.play(&with_process(101));
    agent.scrape_until("the next report", |seen| age(seen) < Some(1.0));
}

#[test]
fn a_node_without_a_driver_is_ready_and_a_first_poll_that_hangs_is_not() {
    let node = Node::new(&without_driver());
    let agent = node.start_agent();
    eventually("readiness", || (agent.readiness() == (200, "ok\n".to_owned())).then_some(()));
    let hung = Behaviour { delay_ms: 60_000, ..Behaviour::default() };
    let hanging = Scenario { calls: [(Symbol::nvmlInit_v2, hung)].into(), ..scenario() };
    let node = Node::new(&hanging);
    let agent = node.start_agent();
    assert_eq!(agent.readiness(), (503, "waiting for: the end of the first poll\n".to_owned()));
}

#[test]
fn an_agent_without_the_processes_of_the_node_counts_and_logs_this() {
    let node = Node::new(&scenario());
    node.add_process(1, "/");
    node.set_agent(1);
    let agent = node.start_agent();
    assert!(agent.logged("does not see the processes of the node").contains("set hostPID: true"));
    let reason = [("reason", "no_host_pid")];
    agent.scrape_until("the reason", |seen| {
        seen.value("vdi_metrics_node_failures_total", &reason) > Some(0.0)
    });
}

/// MPS can run a process on another card than the assigned one (`dcgm-exporter#568`).
#[test]
fn a_process_on_another_card_than_the_assigned_one_is_counted() {
    let node = Node::new(&with_process(101));
    node.add_session(ALICE, 101);
    node.annotate(ALICE, &format!("hami.io/vgpu-devices-allocated=\"{},NVIDIA,3000,30:;\"\n", CARDS[0]));
    let agent = node.start_agent();
    let seen = agent.scrape_until("the session", |seen| {
        seen.value("vdi_gpu_sessions", &[("gpu", CARDS[1])]) == Some(1.0)
    });
    for (card, mismatched) in CARDS.into_iter().zip([0.0, 1.0]) {
        assert_eq!(seen.value("vdi_gpu_sessions", &[("gpu", card)]), Some(1.0), "{card}");
        assert_eq!(seen.value("vdi_gpu_mismatched_sessions", &[("gpu", card)]), Some(mismatched), "{card}");
    }
    let unassigned =
        |seen: &Exposition, card| seen.value("vdi_session_gpu_unassigned_info", &[("gpu", card)]);
    let seen =
        node.start_sidecar(ALICE).scrape_until("the card", |seen| unassigned(seen, CARDS[1]).is_some());
    assert_eq!(unassigned(&seen, CARDS[0]), None);
}

/// Newer drivers keep fewer samples than there are in one interval.
#[test]
fn a_buffer_that_is_shorter_than_the_interval_loses_no_samples() {
    let mut scenario = with_process(101);
    scenario.devices.remove(0);
    scenario.devices[0].samples = Some(Samples { period_us: 25_000, length: 72, ..Samples::default() });
    let node = Node::new(&scenario);
    node.add_session(ALICE, 101);
    let agent = node.start_agent_with(2.5, &[]);
    let sidecar = node.start_sidecar(ALICE);
    let total = |seen: &Exposition, name: &str| -> f64 {
        seen.series(&format!("vdi_session_gpu_{name}_seconds_total")).map(|series| series.value).sum()
    };
    let seen = sidecar.scrape_until("three intervals", |seen| total(seen, "allocated") > 7.0);
    let [allocated, busy, unsampled] = ["allocated", "busy", "unsampled"].map(|name| total(&seen, name));
    assert!(unsampled < allocated / 10.0, "{unsampled} of {allocated}: a buffer covers 1.8 s of 2.5 s");
    assert!((busy - allocated / 2.0).abs() < allocated / 20.0, "{busy} of {allocated}");
    let seen = agent.scrape_until("three intervals", |seen| {
        seen.value("vdi_gpu_observed_seconds_total", &[]) > Some(7.0)
    });
    let observed = seen.value("vdi_gpu_observed_seconds_total", &[]).unwrap();
    let busy: f64 = seen.series("vdi_gpu_busy_seconds_total").map(|series| series.value).sum();
    assert!((busy - observed / 2.0).abs() < observed / 20.0, "{busy} of {observed}");
}

/// A session on a device that is not selected gets no report, so that its sidecar uses its own driver.
#[test]
fn only_the_selected_devices_are_read() {
    const BOB: &str = "bbbbbbbb-0000-4000-8000-000000000002";

    let node = Node::new(&with_process(101));
    node.add_session(ALICE, 101);
    node.add_session(BOB, 202);
    for (uid, card) in [(ALICE, CARDS[1]), (BOB, CARDS[0])] {
        node.annotate(uid, &format!("hami.io/vgpu-devices-allocated=\"{card},NVIDIA,3000,30:;\"\n"));
    }
    let agent = node.start_agent_with(0.3, &["--devices", CARDS[1]]);
    let seen = agent
        .scrape_until("two polls", |seen| seen.value("vdi_metrics_node_reports_total", &[]) >= Some(2.0));
    assert_eq!(seen.value("vdi_metrics_node_devices", &[]), Some(1.0));
    let cards: Vec<_> = seen.series("vdi_gpu_info").map(|series| series.labels["gpu"].clone()).collect();
    assert_eq!(cards, [CARDS[1]]);
    assert!(node.volume(ALICE).join(REPORT).exists() && !node.volume(BOB).join(REPORT).exists());
}

#[test]
fn a_lasting_failure_is_logged_once_and_its_end_too() {
    let node = Node::new(&without_driver());
    let agent = node.start_agent();
    let line = agent.logged("The driver does not answer");
    assert!(line.contains("WARN") && line.contains("init: driver_not_loaded"), "{line}");
    assert!(line.contains("load the driver on the node"), "{line}");
    agent.scrape_until("three attempts", |seen| {
        seen.value("vdi_metrics_node_nvml_errors_total", &[("call", "init"), ("code", "driver_not_loaded")])
            > Some(2.0)
    });
    let logs = node.path("logs");
    std::fs::rename(&logs, node.path("moved")).unwrap();
    node.play(&scenario());
    assert!(agent.logged("The driver answers").contains("devices=2 driver_version=\"580.95.05\""));
    let line = agent.logged("WARN Cannot read the names of pods");
    assert!(line.contains("logs: No such file or directory (os error 2); check --pod-logs"), "{line}");
    let reason = [("reason", "pod_logs_unreadable")];
    agent.scrape_until("three polls", |seen| {
        seen.value("vdi_metrics_node_failures_total", &reason) > Some(2.0)
    });
    std::fs::rename(node.path("moved"), &logs).unwrap();
    agent.logged("INFO Resolved: Cannot read the names of pods");
    let log = agent.log();
    for event in ["The driver does not answer", "The driver answers", "WARN Cannot read the names of pods"] {
        assert_eq!(log.matches(event).count(), 1, "{event}: {log}");
    }
}
