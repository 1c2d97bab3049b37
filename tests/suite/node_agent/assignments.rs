//! Which devices the kubelet's list and the annotations of the pods give to a session. No session has a process on a device.

use fake_nvml::{Device, Memory};
use kit::exposition::Exposition;
use vdi_metrics::contract::REPORT;

use super::{
    fake_kubelet::{FakeKubelet, ListedPod},
    node_fixture::*,
};

const CARDS: [&str; 2] =
    ["GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035", "GPU-00000000-0c3a-4f6e-9b7d-21a4c8e6f035"];
const ALICE: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const BOB: &str = "bbbbbbbb-0000-4000-8000-000000000002";

/// A node with two cards, and a session without a process on them. The order of the device files is not the driver's order.
fn node(annotations: &str) -> Node {
    let card = |uuid: &str, minor| Device {
        uuid: Some(uuid.into()),
        minor: Some(minor),
        memory: Some(Memory { total: 48 << 30, reserved: 0, used: 7 << 30 }),
        graphics: Some(vec![]),
        compute: Some(vec![]),
        ..Device::default()
    };
    let node = Node::new(&driver_with(vec![card(CARDS[0], 1), card(CARDS[1], 0)]));
    node.add_session(ALICE, 404);
    node.annotate(ALICE, annotations);
    node
}

fn desktop(uid: &str) -> ListedPod {
    ListedPod::new("desktops", &pod_name(uid))
}

/// The cards of the session and how they are shared.
fn cards(node: &Node, list: &[ListedPod]) -> Vec<(String, String)> {
    let _kubelet = FakeKubelet::start(&node.kubelet_root(), list);
    let _agent = node.start_agent();
    let sidecar = node.start_sidecar(ALICE);
    let seen = sidecar.scrape_until("a card", |seen| seen.series("vdi_session_gpu_info").next().is_some());
    let shared =
        |series: &kit::exposition::Series| (series.labels["gpu"].clone(), series.labels["sharing"].clone());
    seen.series("vdi_session_gpu_info").map(shared).collect()
}

fn card(card: usize, sharing: &str) -> Vec<(String, String)> {
    vec![(CARDS[card].to_owned(), sharing.to_owned())]
}

#[test]
fn a_card_of_a_device_plugin_is_exclusive_if_no_other_pod_has_it() {
    let node = node("");
    let job = |id: &str| ListedPod::new("training", "job").with_devices(&[id]);
    let alice = || desktop(ALICE).with_devices(&[CARDS[0]]);
    assert_eq!(cards(&node, &[alice(), job(CARDS[1])]), card(0, "exclusive"));
}

#[test]
fn a_card_that_a_pod_without_a_sidecar_also_has_is_shared() {
    let node = node("");
    let job = ListedPod::new("training", "job").with_devices(&[&format!("{}::1", CARDS[0])]);
    assert_eq!(cards(&node, &[desktop(ALICE).with_devices(&[CARDS[0]]), job]), card(0, "time-slicing"));
}

#[test]
fn a_claim_names_the_card_by_its_device_file() {
    let listed = desktop(ALICE).with_claimed("gpu.nvidia.com", "gpu-0", None);
    assert_eq!(cards(&node(""), &[listed]), card(1, "exclusive"));
}

#[test]
fn a_card_of_which_a_claim_has_a_share_is_shared() {
    let listed = desktop(ALICE).with_claimed("gpu.nvidia.com", "gpu-1", Some("b7e5"));
    assert_eq!(cards(&node(""), &[listed]), card(0, "time-slicing"));
}

#[test]
fn a_part_of_the_only_reserved_card_is_of_this_card() {
    let reservation =
        ListedPod::new("kai-resource-reservation", "gpu-reservation-1").with_devices(&[CARDS[1]]);
    let node = node("gpu-fraction=\"0.5\"\n");
    assert_eq!(cards(&node, &[desktop(ALICE), reservation]), card(1, "time-slicing"));
}

#[test]
fn a_broker_hands_over_a_card_that_the_kubelet_did_not_allocate() {
    let node = node(&format!("vdi-metrics.io/gpu=\"{}\"\n", CARDS[1]));
    assert_eq!(cards(&node, &[desktop(ALICE)]), card(1, "exclusive"));
}

/// A user can write the annotation. The kubelet has allocated the card to another pod.
#[test]
fn an_annotation_hands_over_no_card_of_another_pod() {
    for forged in [CARDS[1], "1", &format!("{}::0", CARDS[1])] {
        let node = node(&format!("vdi-metrics.io/gpu=\"{forged}\"\n"));
        node.add_session(BOB, 405);
        let listed = [desktop(ALICE), desktop(BOB).with_devices(&[CARDS[1]])];
        let _kubelet = FakeKubelet::start(&node.kubelet_root(), &listed);
        let agent = node.start_agent();
        let unknown = [("reason", "pod_unknown")];
        agent.scrape_until("a poll", |seen| {
            seen.value("vdi_metrics_node_failures_total", &unknown) > Some(0.0)
        });
        assert!(
            node.volume(BOB).join(REPORT).exists() && !node.volume(ALICE).join(REPORT).exists(),
            "{forged}"
        );
    }
}

/// HAMi's device plugin makes the kubelet allocate a device too.
#[test]
fn an_annotation_of_hami_gives_no_card_to_a_pod_without_a_device() {
    let node = node(&format!("hami.io/vgpu-devices-allocated=\"{},NVIDIA,3000,30:;\"\n", CARDS[1]));
    let _kubelet = FakeKubelet::start(&node.kubelet_root(), &[desktop(ALICE)]);
    let _agent = node.start_agent();
    let reason = [("reason", "not_allocated")];
    node.start_sidecar(ALICE).scrape_until("the reason", |seen| {
        seen.value("vdi_session_gpu_unavailable_info", &reason) == Some(1.0)
    });
}

#[test]
fn an_annotation_precedes_what_the_agent_concludes_about_sharing() {
    let node = node("vdi-metrics.io/gpu-sharing=\"mps\"\n");
    assert_eq!(cards(&node, &[desktop(ALICE).with_devices(&[CARDS[0]])]), card(0, "mps"));
}

/// The desktop needs no GPU.
#[test]
fn a_session_without_a_card_is_no_failure() {
    let node = node("");
    let _kubelet = FakeKubelet::start(&node.kubelet_root(), &[desktop(ALICE)]);
    let _agent = node.start_agent();
    let reason = [("reason", "not_allocated")];
    let seen = node.start_sidecar(ALICE).scrape_until("the reason", |seen| {
        seen.value("vdi_session_gpu_unavailable_info", &reason) == Some(1.0)
    });
    assert_eq!(seen.value("vdi_metrics_collect_success", &[]), Some(1.0));
}

/// The node has two reserved cards, and Alice has a part of one: nothing shows of which one. NVML does not list the device of Bob.
#[test]
fn a_session_whose_card_is_not_known_gets_no_report() {
    let node = node("gpu-memory=\"2000\"\n");
    node.add_session(BOB, 405);
    let reservation = |name: &str, id: &str| ListedPod::new("runai-reservation", name).with_devices(&[id]);
    let bob = desktop(BOB).with_claimed("gpu.nvidia.com", "gpu-vfio-0", None);
    assert_both_unknown(
        &node,
        &[desktop(ALICE), bob, reservation("a", CARDS[0]), reservation("b", CARDS[1])],
    );
}

/// Alice's pod was deleted by force and still has its volume. The pod with the same name that replaces it has the card.
#[test]
fn two_sessions_with_one_name_have_unknown_devices() {
    let node = node("");
    node.add_session(BOB, 405);
    node.rename(BOB, &pod_name(ALICE));
    assert_both_unknown(&node, &[desktop(ALICE).with_devices(&[CARDS[0]])]);
}

fn assert_both_unknown(node: &Node, list: &[ListedPod]) {
    let unknown = |seen: &Exposition| {
        seen.value("vdi_metrics_node_failures_total", &[("reason", "pod_unknown")]).unwrap_or_default()
    };
    let _kubelet = FakeKubelet::start(&node.kubelet_root(), list);
    let agent = node.start_agent();
    let up = |seen: &Exposition| seen.value("vdi_metrics_node_kubelet_up", &[]) == Some(1.0);
    let seen = agent.scrape_until("the kubelet", up);
    let seen = agent.scrape_until("two polls", |next| unknown(next) >= unknown(&seen) + 4.0);
    assert_eq!(seen.value("vdi_metrics_node_reports_total", &[]), Some(0.0));
}

/// The kubelet restarts. Its last list is right until it answers again.
#[test]
fn a_session_keeps_its_card_while_the_kubelet_does_not_answer() {
    let node = node("");
    let listed = desktop(ALICE).with_devices(&[CARDS[0]]);
    let kubelet = FakeKubelet::start(&node.kubelet_root(), &[listed]);
    let agent = node.start_agent();
    let reports = |seen: &Exposition| seen.value("vdi_metrics_node_reports_total", &[]);
    agent.scrape_until("a report", |seen| reports(seen) > Some(0.0));
    drop(kubelet);
    let is_down = |seen: &Exposition| seen.value("vdi_metrics_node_kubelet_up", &[]) == Some(0.0);
    let down = agent.scrape_until("the end of the kubelet", is_down);
    agent.scrape_until("later reports", |seen| reports(seen) > reports(&down).map(|count| count + 2.0));
    let seen = node
        .start_sidecar(ALICE)
        .scrape_until("a card", |seen| seen.series("vdi_session_gpu_info").next().is_some());
    assert_eq!(seen.value("vdi_session_gpu_info", &[("gpu", CARDS[0]), ("sharing", "exclusive")]), Some(1.0));
}
