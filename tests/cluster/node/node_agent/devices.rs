//! Which devices each sidecar shows, and how busy: desktops on shared cards and cards of their own, from device plugins, a resource
//! claim and two schedulers that share cards, beside processes outside of all pods and pods that pretend to be sessions.

use std::{fs, io::ErrorKind};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{CLAIMABLE_GPUS, SHARED_GPU, TestCluster};
use kube::{ResourceExt, api::DeleteParams};
use serde_json::{Value, json};

use super::{
    agent::{agent, with_agent},
    hostile_pods::HostilePods,
    hour::check_hour,
    node_driver::{CARDS, Kind, Work, show},
    shown::{shows, uses_agent},
    volume::is_removed,
};
use crate::support::{
    claims::{allocated_gpu, claims_namespace, desktop_with_claim},
    installation::installed_alone,
    node_pods::{all_ready, create, desktop_with, pods},
    processes::{DESKTOP, process},
    prometheus::single_sample,
};

tests![each_sidecar_shows_the_devices_and_the_use_of_its_own_session];

/// What a sidecar must show.
pub(super) struct Expected<'p> {
    pub(super) pod: &'p Pod,
    sharing: &'static str,
    pub(super) work: Work,
}

async fn each_sidecar_shows_the_devices_and_the_use_of_its_own_session(cluster: &TestCluster) -> Result<()> {
    let _server = installed_alone(cluster).await?;
    with_agent(cluster, check_devices(cluster)).await
}

async fn check_devices(cluster: &TestCluster) -> Result<()> {
    let namespace = claims_namespace(cluster).await?;
    let desktops = Desktops::create(cluster, &namespace).await?;
    let expected = desktops.expected()?;
    let hostile = HostilePods::create(cluster, &desktops.carol, &expected[2].work.gpu).await?;
    check_class(&hostile.forger, "BestEffort")?;
    let others = other_work(&desktops, &hostile)?;
    let work: Vec<Work> =
        expected.iter().map(|expected| expected.work.clone()).chain(others.clone()).collect();
    show(&work)?;
    check_shown(cluster, &expected).await?;
    let dave = &desktops.dave;
    shows(cluster, dave, "vdi_session_gpu_available", &[], 0.0).await?;
    shows(cluster, dave, "vdi_session_gpu_unavailable_info", &[("reason", "not_allocated")], 1.0).await?;
    hostile.check(&others[0])?;
    check_agent(cluster, expected.len() + 1 + hostile.with_report()).await?;
    check_hour(cluster, &expected, &work).await?;
    check_shown(cluster, &expected).await?;

    pods(cluster, &namespace).delete("alice", &DeleteParams::default()).await?;
    is_removed(&desktops.alice).await?;
    let sessions = (expected.len() + hostile.with_report()) as f64;
    single_sample(cluster, "vdi_metrics_node_sessions", sessions).await?;
    cluster.kubectl.run(&["delete", "namespace", RESERVATIONS, "--wait=false"]).map(drop)
}

/// Waits until each sidecar shows the card of its session, and the memory and the encoder session of its process.
async fn check_shown(cluster: &TestCluster, expected: &[Expected<'_>]) -> Result<()> {
    for Expected { pod, sharing, work } in expected {
        uses_agent(cluster, pod).await.with_context(|| pod.name_any())?;
        let labels = [("gpu", &*work.gpu), ("sharing", sharing)];
        shows(cluster, pod, "vdi_session_gpu_info", &labels, 1.0).await?;
        let labels = [("gpu", &*work.gpu), ("scope", "session")];
        let bytes = work.memory as f64;
        shows(cluster, pod, "vdi_session_gpu_memory_used_bytes", &labels, bytes).await?;
        shows(cluster, pod, "vdi_session_gpu_encoder_sessions", &labels, 1.0).await?;
        let labels = [("gpu", &*work.gpu), ("scope", "session"), ("codec", work.kind.codec().0)];
        shows(cluster, pod, "vdi_session_gpu_encoder_codec_sessions", &labels, 1.0).await?;
    }
    Ok(())
}

/// The desktops. Pods of different QoS classes have control groups with different parents: the desktops are of the class Burstable,
/// `carol` is of the class Guaranteed, and the hostile pods are of the class BestEffort.
struct Desktops {
    /// Shares a card with `bob` by time-slicing.
    alice: Pod,
    bob: Pod,
    /// Has a card of its own.
    carol: Pod,
    /// Has no GPU.
    dave: Pod,
    /// Has a card by a resource claim.
    erin: Pod,
    /// Runs in a user namespace, and uses a card that is not assigned to it.
    frank: Pod,
    /// Scheduled by HAMi: the annotation names another card than the kubelet's allocation.
    grace: Pod,
    /// Scheduled by KAI: another pod holds the card for the kubelet.
    heidi: Pod,
    /// KAI's pod with the card of `heidi`.
    reservation: Pod,
    cards: Cards,
}

/// The cards that are not from a device plugin.
struct Cards {
    erin: String,
    frank: &'static str,
    grace: &'static str,
}

// === impl Desktops ===

impl Desktops {
    async fn create(cluster: &TestCluster, namespace: &str) -> Result<Self> {
        create(cluster, namespace, desktop_with_claim("erin")).await?;
        let erin = all_ready(cluster, namespace, 1).await?.pop().context("no pod")?;
        let cards = Cards::besides(allocated_gpu(cluster, &erin)?)?;
        for pod in pods_without_claim(cards.grace) {
            create(cluster, namespace, pod).await?;
        }
        let reservation = create_reservation(cluster).await?;
        let all = all_ready(cluster, namespace, 8).await?;
        let Ok([alice, bob, carol, dave, erin, frank, grace, heidi]) = <[Pod; 8]>::try_from(all) else {
            bail!("not 8 pods")
        };
        check_class(&alice, "Burstable")?;
        check_class(&carol, "Guaranteed")?;
        Ok(Self { alice, bob, carol, dave, erin, frank, grace, heidi, reservation, cards })
    }

    /// What the sidecars of all desktops with a device must show.
    fn expected(&self) -> Result<Vec<Expected<'_>>> {
        let (carols, heidis) = (plugins_gpu(&self.carol)?, plugins_gpu(&self.reservation)?);
        for pod in [&self.alice, &self.bob] {
            ensure!(plugins_gpu(pod)? == SHARED_GPU, "{} has another card", pod.name_any());
        }
        ensure!(plugins_gpu(&self.grace)? != self.cards.grace, "the annotation names the kubelet's card");
        let rows = [
            (&self.alice, SHARED_GPU, "time-slicing", Kind::Graphics, 1, [30, 0, 60, 0, 10, 45]),
            (&self.bob, SHARED_GPU, "time-slicing", Kind::Compute, 2, [20, 40, 0, 0, 50, 5]),
            (&self.carol, &*carols, "exclusive", Kind::Graphics, 3, [0, 80, 0, 100, 5, 0]),
            (&self.erin, &*self.cards.erin, "exclusive", Kind::Compute, 5, [15, 15, 90, 0, 0, 40]),
            (&self.frank, self.cards.frank, "unknown", Kind::Compute, 6, [45, 0, 0, 70, 0, 20]),
            (&self.grace, self.cards.grace, "time-slicing", Kind::Graphics, 7, [0, 0, 25, 0, 100, 0]),
            (&self.heidi, &*heidis, "time-slicing", Kind::Compute, 8, [35, 5, 35, 5, 35, 5]),
        ];
        let expected = |(pod, gpu, sharing, kind, gibibytes, phases): (_, &str, _, _, u64, _)| {
            let pid = process(pod, DESKTOP)?.id()?;
            let work = Work { gpu: gpu.to_owned(), pid, kind, memory: gibibytes << 30, phases };
            Ok(Expected { pod, sharing, work })
        };
        rows.into_iter().map(expected).collect()
    }
}

// === impl Cards ===

impl Cards {
    /// The cards if the claim of `erin` has this one.
    fn besides(erin: String) -> Result<Self> {
        let free: Vec<_> = CLAIMABLE_GPUS.into_iter().filter(|gpu| *gpu != erin).collect();
        let [frank, grace] = free[..] else { bail!("{erin} is no card for claims") };
        Ok(Self { erin, frank, grace })
    }
}

/// All desktops but `erin`. HAMi has assigned this card to `grace`.
fn pods_without_claim(graces: &str) -> [Value; 7] {
    let mut carol = desktop_with("carol", Some(WHOLE));
    for (resource, quantity) in [("cpu", "100m"), ("memory", "32Mi")] {
        carol["spec"]["containers"][0]["resources"]["limits"][resource] = json!(quantity);
    }
    let mut frank = desktop_with("frank", None);
    frank["spec"]["hostUsers"] = json!(false);
    let mut grace = desktop_with("grace", Some(WHOLE));
    grace["metadata"]["annotations"][HAMI] = json!(format!("{graces},NVIDIA,3000,30:;"));
    let mut heidi = desktop_with("heidi", None);
    heidi["metadata"]["annotations"]["gpu-fraction"] = json!("0.5");
    let [alice, bob] = ["alice", "bob"].map(|name| desktop_with(name, Some(SHARED)));
    [alice, bob, carol, desktop_with("dave", None), frank, grace, heidi]
}

/// KAI's pod that holds a card for the desktops with a part of it.
async fn create_reservation(cluster: &TestCluster) -> Result<Pod> {
    cluster.kubectl.run(&["create", "namespace", RESERVATIONS])?;
    create(cluster, RESERVATIONS, desktop_with("gpu-reservation-node-x7k2p", Some(WHOLE))).await?;
    all_ready(cluster, RESERVATIONS, 1).await?.pop().context("no pod")
}

fn check_class(pod: &Pod, class: &str) -> Result<()> {
    let actual = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
    ensure!(actual == Some(class), "{} is {actual:?}", pod.name_any());
    Ok(())
}

/// The card that a device plugin has given to the desktop.
fn plugins_gpu(pod: &Pod) -> Result<String> {
    process(pod, DESKTOP)?.variable("NVIDIA_VISIBLE_DEVICES")?.context("no device")
}

/// Work of pods that are no desktops, the forger's first, and of a process outside of all pods.
fn other_work(desktops: &Desktops, hostile: &HostilePods) -> Result<[Work; 3]> {
    let [forger, trapper] = [&hostile.forger, &hostile.trapper].map(|pod| process(pod, DESKTOP)?.id());
    let rows = [
        (desktops.cards.frank, forger?, Kind::Graphics, 9, [5, 0, 10, 0, 0, 60]),
        (SHARED_GPU, trapper?, Kind::Compute, 10, [15, 0, 10, 0, 20, 0]),
        (SHARED_GPU, std::process::id(), Kind::Compute, 4, [10, 30, 0, 0, 0, 25]),
    ];
    Ok(rows.map(|(gpu, pid, kind, gibibytes, phases)| Work {
        gpu: gpu.to_owned(),
        pid,
        kind,
        memory: gibibytes << 30,
        phases,
    }))
}

async fn check_agent(cluster: &TestCluster, sessions: usize) -> Result<()> {
    let agent = agent()?;
    for (field, value) in [
        ("Uid", "0\t0\t0\t0"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("Seccomp", "2"),
    ] {
        ensure!(agent.status(field)? == value, "{field}: {}", agent.status(field)?);
    }
    let written = fs::write(agent.file("/var/lib/kubelet/pods/file"), "").map_err(|error| error.kind());
    ensure!(written == Err(ErrorKind::ReadOnlyFilesystem), "{written:?}");
    for (metric, value) in [
        ("vdi_metrics_node_kubelet_up{node=\"node\"}", 1.0),
        ("vdi_metrics_node_poll_success", 1.0),
        ("vdi_metrics_node_devices", CARDS as f64),
        ("vdi_metrics_node_sessions", sessions as f64),
        ("vdi_metrics_node_failures_total{reason=\"process_unreadable\"}", 0.0),
        ("vdi_metrics_node_failures_total{reason=\"volume_unreadable\"}", 0.0),
        ("vdi_metrics_node_failures_total{reason=\"report_not_written\"}", 0.0),
        ("vdi_metrics_node_poll_duration_seconds < bool 1", 1.0),
    ] {
        single_sample(cluster, metric, value).await?;
    }
    check_resident()
}

/// The shipped memory limit is three times this size.
pub(super) fn check_resident() -> Result<()> {
    let resident = agent()?.resident()?;
    ensure!(resident < MAX_RESIDENT, "the agent has {resident} MiB");
    Ok(())
}

/// MiB.
const MAX_RESIDENT: f64 = 10.0;
const SHARED: &str = "nvidia.com/gpu.shared";
const WHOLE: &str = "nvidia.com/gpu";
const HAMI: &str = "hami.io/vgpu-devices-allocated";
const RESERVATIONS: &str = "kai-resource-reservation";
