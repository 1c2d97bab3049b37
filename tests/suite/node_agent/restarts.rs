//! Restarts of the agent and of the kubelet, and the loss of a card, while a session runs.

use fake_nvml::{Device, Memory, Scenario, Utilization};
use kit::exposition::Exposition;

use super::{
    fake_kubelet::{FakeKubelet, ListedPod},
    node_fixture::*,
};

const CARD: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
const ALICE: &str = "aaaaaaaa-0000-4000-8000-000000000001";

fn scenario() -> Scenario {
    let process = fake_nvml::Process { pid: 101, memory: Some(1 << 30), ends_after_lists: None };
    let card = Device {
        uuid: Some(CARD.into()),
        utilization: Some(Utilization { gpu: 60, memory: 10 }),
        memory: Some(Memory { total: 48 << 30, reserved: 0, used: 2 << 30 }),
        graphics: Some(vec![process]),
        compute: Some(vec![]),
        ..Device::default()
    };
    Scenario { driver_version: Some("580.95.05".into()), devices: vec![card], ..Scenario::default() }
}

fn allocated(seen: &Exposition) -> f64 {
    seen.value("vdi_session_gpu_allocated_seconds_total", &[("gpu", CARD)]).unwrap_or_default()
}

/// Waits for more seconds of the session. Meanwhile its card stays its own.
fn pass(sidecar: &Sidecar) {
    let start = sidecar.scrape_until("the session", |seen| allocated(seen) > 0.0);
    sidecar.scrape_until("more time", |seen| {
        let own = [("sharing", "exclusive"), ("gpu", CARD)];
        assert_eq!(seen.value("vdi_session_gpu_info", &own), Some(1.0));
        allocated(seen) > allocated(&start) + 1.0
    });
}

#[test]
fn a_card_of_one_session_stays_its_own_during_restarts() {
    let node = Node::new(&scenario());
    node.add_session(ALICE, 101);
    let list = [ListedPod::new("desktops", &pod_name(ALICE)).with_devices(&[CARD])];
    let kubelet = FakeKubelet::start(&node.kubelet_root(), &list);
    let mut agent = node.start_agent();
    let sidecar = node.start_sidecar(ALICE);
    pass(&sidecar);
    for _ in 0..3 {
        drop(agent);
        agent = node.start_agent();
        pass(&sidecar);
    }
    drop(kubelet);
    agent.scrape_until("the end of the kubelet", |seen| {
        seen.value("vdi_metrics_node_kubelet_up", &[]) == Some(0.0)
    });
    pass(&sidecar);
    let _kubelet = FakeKubelet::start(&node.kubelet_root(), &list);
    pass(&sidecar);
}

/// One of two cards falls off the bus. The kubelet still has it allocated.
#[test]
fn a_lost_card_stays_allocated_and_has_its_own_reason() {
    const OTHER: &str = "GPU-00000000-0c3a-4f6e-9b7d-21a4c8e6f035";
    let mut scenario = scenario();
    scenario.devices.push(Device { uuid: Some(OTHER.into()), ..scenario.devices[0].clone() });
    let node = Node::new(&scenario);
    node.add_session(ALICE, 101);
    let list = [ListedPod::new("desktops", &pod_name(ALICE)).with_devices(&[CARD, OTHER])];
    let _kubelet = FakeKubelet::start(&node.kubelet_root(), &list);
    let _agent = node.start_agent();
    let sidecar = node.start_sidecar(ALICE);
    pass(&sidecar);
    scenario.devices[1].lost = true;
    node.play(&scenario);
    let lost = |seen: &Exposition| {
        seen.value("vdi_session_gpu_unavailable_info", &[("reason", "gpu_lost"), ("gpu", OTHER)])
    };
    let seconds = |seen: &Exposition, what: &str| {
        seen.value(&format!("vdi_session_gpu_{what}_seconds_total"), &[("gpu", OTHER)])
    };
    let start = sidecar.scrape_until("the loss", |seen| lost(seen) == Some(1.0));
    let end = sidecar.scrape_until("more time", |seen| {
        assert_eq!(lost(seen), Some(1.0));
        allocated(seen) > allocated(&start) + 2.0
    });
    for what in ["allocated", "unsampled"] {
        assert!(seconds(&end, what) > seconds(&start, what).map(|seconds| seconds + 1.5), "{what}");
    }
    pass(&sidecar);
}
