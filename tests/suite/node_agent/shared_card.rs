//! Two desktops on one card.

use std::fs;

use fake_nvml::{Device, Memory, ProcessUtilization, Scenario, Utilization};
use kit::exposition::Exposition;
use vdi_metrics::contract::REPORT;

use super::node_fixture::*;

const CARD: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
const ALICE: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const BOB: &str = "bbbbbbbb-0000-4000-8000-000000000002";

/// A card that is busy 60 % of the time: 30 % by process 101, 20 % by process 202, and 10 % by process 303.
fn scenario() -> Scenario {
    let process = |pid, gibibytes: u64| fake_nvml::Process {
        pid,
        memory: Some(gibibytes << 30),
        ends_after_lists: None,
    };
    let sample = |pid, sm| ProcessUtilization { pid, sm, ..ProcessUtilization::default() };
    let card = Device {
        uuid: Some(CARD.into()),
        name: Some("NVIDIA L40S".into()),
        utilization: Some(Utilization { gpu: 60, memory: 10 }),
        memory: Some(Memory { total: 48 << 30, reserved: 0, used: 7 << 30 }),
        graphics: Some(vec![process(101, 1), process(303, 4)]),
        compute: Some(vec![process(202, 2)]),
        process_utilization: Some(vec![sample(101, 30), sample(202, 20), sample(303, 10)]),
        ..Device::default()
    };
    driver_with(vec![card])
}

fn node() -> Node {
    let node = Node::new(&scenario());
    node.add_session(ALICE, 101);
    node.add_session(BOB, 202);
    node.add_process(303, "/user.slice/display.service");
    node
}

fn of_session(seen: &Exposition, metric: &str) -> Option<f64> {
    seen.value(&format!("vdi_session_gpu_{metric}"), &[("gpu", CARD), ("scope", "session")])
}

fn allocated(seen: &Exposition) -> f64 {
    seen.value("vdi_session_gpu_allocated_seconds_total", &[("gpu", CARD)]).unwrap_or_default()
}

fn strategy(seen: &Exposition) -> Option<&str> {
    seen.series("vdi_session_gpu_attribution_info").next().map(|series| &*series.labels["strategy"])
}

/// The sidecars have no driver. Each shows the part of its own desktop.
#[test]
fn desktops_on_one_card_are_distinguished() {
    let node = node();
    let agent = node.start_agent();
    for (uid, ratio, gibibytes) in [(ALICE, 0.3, 1_u64), (BOB, 0.2, 2)] {
        let sidecar = node.start_sidecar(uid);
        let seen = sidecar.scrape_until("a second of the card", |seen| allocated(seen) > 1.0);
        assert_eq!(strategy(&seen), Some("node_agent"));
        assert_eq!(of_session(&seen, "memory_used_bytes"), Some((gibibytes << 30) as f64));
        let busy = of_session(&seen, "busy_seconds_total").unwrap_or_default();
        let expected = ratio * allocated(&seen);
        assert!((busy - expected).abs() < 0.01 * expected + 0.02, "{busy} s of {expected} s");
    }
    let seen =
        agent.scrape_until("the sessions", |seen| seen.value("vdi_metrics_node_sessions", &[]) == Some(2.0));
    assert_eq!(seen.value("vdi_metrics_node_kubelet_up", &[]), Some(0.0), "this node has no kubelet");
}

/// The agent is killed and starts again: no counter falls, and the time without it is unsampled.
#[test]
fn a_killed_agent_is_a_gap_and_not_a_reset() {
    let node = node();
    let agent = node.start_agent();
    let sidecar = node.start_sidecar(ALICE);
    let before = sidecar.scrape_until("a second of the card", |seen| allocated(seen) > 1.0);
    drop(agent);
    let without = sidecar.scrape_until("the end of the agent", |seen| strategy(seen).is_none());
    let stale = [("strategy", "node_agent"), ("reason", "stale")];
    assert_eq!(without.value("vdi_session_gpu_attribution_passed_info", &stale), Some(1.0));
    let _agent = node.start_agent();
    let back = sidecar.scrape_until("the agent", |seen| strategy(seen) == Some("node_agent"));
    for counter in ["allocated_seconds_total", "unsampled_seconds_total"] {
        let value = |seen: &Exposition| {
            seen.value(&format!("vdi_session_gpu_{counter}"), &[("gpu", CARD)]).unwrap_or_default()
        };
        assert!(value(&back) >= value(&without) && value(&without) >= value(&before), "{counter} fell");
    }
    let unsampled =
        |seen: &Exposition| seen.value("vdi_session_gpu_unsampled_seconds_total", &[("gpu", CARD)]);
    assert!(unsampled(&back) > unsampled(&before), "{:?}, {:?}", unsampled(&before), unsampled(&back));
}

/// The report is damaged or from another release. The sidecar says so, counts the time as unsampled, and goes on with the next one.
#[test]
fn a_damaged_report_is_refused_with_a_reason() {
    let node = node();
    let sidecar = node.start_sidecar(ALICE);
    let report = node.volume(ALICE).join(REPORT);
    for text in ["", "{", r#"{"version": 2}"#, "\u{0}\u{0}"] {
        fs::write(node.volume(ALICE).join("next"), text).unwrap();
        fs::rename(node.volume(ALICE).join("next"), &report).unwrap();
        let not_understood = [("strategy", "node_agent"), ("reason", "not_understood")];
        let seen = sidecar.scrape_until("the reason", |seen| {
            seen.value("vdi_session_gpu_attribution_passed_info", &not_understood) == Some(1.0)
        });
        let unreadable = [("evidence", "node_agent")];
        assert!(seen.value("vdi_metrics_unreadable_evidence_total", &unreadable) > Some(0.0), "{text}");
        assert_eq!(seen.value("vdi_metrics_collect_success", &[]), Some(0.0), "{text}");
    }
    let _agent = node.start_agent();
    let seen = sidecar.scrape_until("the agent", |seen| strategy(seen) == Some("node_agent"));
    assert_eq!(seen.value("vdi_metrics_collect_success", &[]), Some(1.0));
}

/// HAMi has assigned the card. Without a process of the pod, only the annotation shows it.
#[test]
fn a_card_of_hami_is_shared() {
    let node = Node::new(&scenario());
    node.add_session(ALICE, 404);
    node.add_process(303, "/user.slice/display.service");
    node.annotate(ALICE, &format!("hami.io/vgpu-devices-allocated=\"{CARD},NVIDIA,3000,30:;\"\n"));
    let _agent = node.start_agent();
    let sidecar = node.start_sidecar(ALICE);
    let seen = sidecar.scrape_until("the card", |seen| allocated(seen) > 0.2);
    let info = seen.series("vdi_session_gpu_info").next().unwrap();
    assert_eq!((&*info.labels["gpu"], &*info.labels["sharing"]), (CARD, "time-slicing"));
    assert_eq!(of_session(&seen, "memory_used_bytes"), Some(0.0), "the session has no process on the card");
}

/// After the agent is lost, the container's own driver shows two cards and no evidence of the session's.
#[test]
fn a_lost_agent_leaves_the_device_allocated_and_unsampled() {
    let mut two = scenario();
    two.devices.push(Device {
        uuid: Some("GPU-00000000-0c3a-4f6e-9b7d-21a4c8e6f035".into()),
        graphics: Some(vec![]),
        compute: Some(vec![]),
        ..two.devices[0].clone()
    });
    let node = Node::new(&two);
    node.add_session(ALICE, 101);
    let agent = node.start_agent();
    let sidecar = node.start_sidecar_with_driver(ALICE);
    sidecar.scrape_until("the card", |seen| strategy(seen) == Some("node_agent") && allocated(seen) > 0.2);
    drop(agent);
    let lost = sidecar.scrape_until("the end of the agent", |seen| strategy(seen).is_none());
    let reason = lost.value("vdi_session_gpu_unavailable_info", &[("reason", "node_agent_lost")]);
    assert_eq!(reason, Some(1.0));
    let unsampled =
        |seen: &Exposition| seen.value("vdi_session_gpu_unsampled_seconds_total", &[("gpu", CARD)]);
    sidecar.scrape_until("more time", |seen| {
        allocated(seen) > allocated(&lost) + 0.2 && unsampled(seen) > unsampled(&lost)
    });
}

/// The agent receives the faults of the card. Each session counts each fault once, and none from before its start.
#[test]
fn a_fault_of_the_card_is_counted_once_in_each_session() {
    let with = |xids: &[u64]| {
        let mut scenario = scenario();
        scenario.devices[0].xids = Some(xids.to_vec());
        scenario
    };
    let node = Node::new(&with(&[]));
    node.add_session(ALICE, 101);
    node.add_session(BOB, 202);
    let agent = node.start_agent();
    let alice = node.start_sidecar(ALICE);
    alice.scrape_until("the card", |seen| allocated(seen) > 0.1);
    node.play(&with(&[31, 31]));
    let count = |seen: &Exposition, xid: &str| {
        seen.value("vdi_session_gpu_xid_errors_total", &[("gpu", CARD), ("xid", xid)])
    };
    alice.scrape_until("two faults", |seen| count(seen, "31") == Some(2.0));
    let bob = node.start_sidecar(BOB);
    bob.scrape_until("the card", |seen| allocated(seen) > 0.1);
    node.play(&with(&[31, 31, 48]));
    for (sidecar, earlier) in [(&alice, Some(2.0)), (&bob, None)] {
        let seen = sidecar.scrape_until("the third fault", |seen| count(seen, "48") == Some(1.0));
        assert_eq!(count(&seen, "31"), earlier);
        let later = sidecar.scrape_until("more time", |later| allocated(later) > allocated(&seen) + 0.3);
        assert_eq!(count(&later, "48"), Some(1.0));
    }
    drop(agent);
}

/// The agent runs without the node's PID namespace: none of the listed processes exists for it.
#[test]
fn without_the_processes_of_the_node_no_use_is_shown() {
    let node = Node::new(&scenario());
    node.add_session(ALICE, 404);
    node.annotate(ALICE, &format!("hami.io/vgpu-devices-allocated=\"{CARD},NVIDIA,3000,30:;\"\n"));
    let _agent = node.start_agent();
    let seen = node.start_sidecar(ALICE).scrape_until("the card", |seen| allocated(seen) > 0.2);
    assert_eq!(of_session(&seen, "memory_used_bytes"), None);
    assert!(seen.value("vdi_session_gpu_memory_used_bytes", &[("scope", "device")]).is_some());
}
