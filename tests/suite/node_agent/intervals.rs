//! The interval of the agent is longer than that of the sidecar, which reads most reports several times.

use std::time::Instant;

use fake_nvml::{Device, ProcessUtilization, Samples, Scenario, Utilization};
use kit::{exposition::Exposition, process::eventually};

use super::node_fixture::*;

const CARD: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
const ALICE: &str = "aaaaaaaa-0000-4000-8000-000000000001";

/// A card that is busy 60 % of the time: 30 % by process 101, and 30 % by process 202.
fn scenario() -> Scenario {
    let process = |pid| fake_nvml::Process { pid, memory: Some(1 << 30), ends_after_lists: None };
    let sample = |pid| ProcessUtilization { pid, sm: 30, ..ProcessUtilization::default() };
    let card = Device {
        uuid: Some(CARD.into()),
        utilization: Some(Utilization { gpu: 60, memory: 10 }),
        samples: Some(Samples { period_us: 10_000, length: 500, ..Samples::default() }),
        graphics: Some(vec![process(101), process(202)]),
        compute: Some(vec![]),
        process_utilization: Some([101, 202].map(sample).to_vec()),
        ..Device::default()
    };
    Scenario { driver_version: Some("580.95.05".into()), devices: vec![card], ..Scenario::default() }
}

fn of_session(seen: &Exposition, metric: &str) -> Option<f64> {
    seen.value(&format!("vdi_session_gpu_{metric}"), &[("gpu", CARD), ("scope", "session")])
}

fn allocated(seen: &Exposition) -> f64 {
    seen.value("vdi_session_gpu_allocated_seconds_total", &[("gpu", CARD)]).unwrap_or_default()
}

#[test]
fn a_longer_interval_of_the_agent_changes_no_value() {
    let node = Node::new(&scenario());
    node.add_session(ALICE, 101);
    node.add_process(202, "/user.slice/display.service");
    let _agent = node.start_agent_with(1.2, &[]);
    let sidecar = node.start_sidecar(ALICE);
    let start = sidecar.scrape_until("a report", |seen| allocated(seen) > 0.0);
    let end = sidecar.scrape_until("three reports", |seen| {
        assert_eq!(of_session(seen, "utilization_ratio"), Some(0.3));
        allocated(seen) > allocated(&start) + 3.0
    });
    let busy = |seen: &Exposition| of_session(seen, "busy_seconds_total").unwrap_or_default();
    let ratio = (busy(&end) - busy(&start)) / (allocated(&end) - allocated(&start));
    assert!((ratio - 0.3).abs() < 0.01, "busy {ratio} of the time");
}

/// The last report of the agent is older than the end of the session.
#[test]
fn the_last_words_have_the_time_since_the_last_report() {
    let node = Node::new(&scenario());
    node.add_session(ALICE, 101);
    let agent = node.start_agent_with(60.0, &[]);
    let sidecar = node.start_sidecar(ALICE);
    let reported = Instant::now();
    sidecar.scrape_until("the card", |seen| seen.series("vdi_session_gpu_info").next().is_some());
    drop(agent);
    eventually("a second", || (reported.elapsed().as_secs_f64() > 1.0).then_some(()));
    let allocated = sidecar.end()["gpus"][0]["allocated"].as_f64().unwrap();
    assert!(allocated >= 1.0, "{allocated} s");
}
