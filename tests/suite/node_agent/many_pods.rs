//! As many session pods as a large node has.

use std::{fs, time::Duration};

use fake_nvml::{Device, Memory, Process, ProcessUtilization, Scenario, Utilization};
use serde_json::Value;
use vdi_metrics::contract::REPORT;

use super::node_fixture::*;

const PODS: u32 = 200;
const CARDS: u32 = 8;

/// A process of each pod is on one of the cards.
fn scenario() -> Scenario {
    let card = |number: u32| {
        let pids = (0..PODS).filter(|pod| pod % CARDS == number).map(pid);
        let process = |pid| Process { pid, memory: Some(1 << 28), ends_after_lists: None };
        let sample = |pid| ProcessUtilization { pid, sm: 2, ..ProcessUtilization::default() };
        Device {
            uuid: Some(format!("GPU-{number:08}-0c3a-4f6e-9b7d-21a4c8e6f035")),
            utilization: Some(Utilization { gpu: 50, memory: 10 }),
            memory: Some(Memory { total: 48 << 30, reserved: 0, used: 7 << 30 }),
            graphics: Some(pids.clone().map(process).collect()),
            compute: Some(vec![]),
            process_utilization: Some(pids.map(sample).collect()),
            ..Device::default()
        }
    };
    Scenario {
        driver_version: Some("580.95.05".into()),
        devices: (0..CARDS).map(card).collect(),
        ..Scenario::default()
    }
}

fn uid(pod: u32) -> String {
    format!("{pod:08x}-0000-4000-8000-000000000001")
}

fn pid(pod: u32) -> u32 {
    1000 + pod
}

/// A poll of all pods takes a small part of the interval, and every report is of one of the last two polls.
#[test]
fn a_poll_of_200_pods_is_cheap() {
    let node = Node::new(&scenario());
    for pod in 0..PODS {
        node.add_session(&uid(pod), pid(pod));
    }
    let agent = node.start_agent();
    let seen = agent.scrape_until("all sessions", |seen| {
        seen.value("vdi_metrics_node_sessions", &[]) == Some(f64::from(PODS))
            && seen.value("vdi_metrics_node_reports_total", &[]) > Some(f64::from(4 * PODS))
    });
    let polls = seen.value("vdi_metrics_node_reports_total", &[]).unwrap() / f64::from(PODS);
    let cpu = agent.cpu_seconds() / polls;
    assert!(cpu < MAX_CPU, "{cpu} s for each poll");
    let resident = agent.resident();
    assert!(resident < MAX_RESIDENT, "{resident} MiB");

    let polled_at = |pod| {
        let report: Value =
            serde_json::from_slice(&fs::read(node.volume(&uid(pod)).join(REPORT)).unwrap()).unwrap();
        assert_eq!(
            report["devices"][0]["device"]["uuid"],
            format!("GPU-{:08}-0c3a-4f6e-9b7d-21a4c8e6f035", pod % CARDS)
        );
        Duration::from_micros(report["at_us"].as_u64().unwrap())
    };
    let times: Vec<_> = (0..PODS).map(polled_at).collect();
    let age = *times.iter().max().unwrap() - *times.iter().min().unwrap();
    assert!(age < 2 * INTERVAL, "{age:?} between the oldest and the newest report");
}

/// Seconds of a core for each poll. Measured with a debug build: 0.17 s.
const MAX_CPU: f64 = 0.5;
const INTERVAL: Duration = Duration::from_millis(300);
/// MiB. The limit of the shipped agent is 10 MiB; the program of a debug build has more pages.
const MAX_RESIDENT: f64 = 16.0;
