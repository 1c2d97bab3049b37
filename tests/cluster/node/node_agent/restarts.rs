//! An agent that hangs, ends or is replaced, a kubelet that restarts, damaged reports, and pods that come and go while the agent
//! writes. The sidecars keep running, and no counter falls.

use std::{
    fs,
    time::{Instant, SystemTime},
};

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{SHARED_GPU, TestCluster, eventually};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use vdi_metrics::contract::{REPORT, key};

use super::{
    agent::{agent, set_interval, set_variables, with_agent},
    devices::check_resident,
    node_driver::{Kind, PHASES, Work, play},
    shown::{never_shows_reason, passes_over_agent, seconds, shows, sidecars_are_undisturbed, uses_agent},
    volume::{is_removed, volume, write_by_rename},
};
use crate::support::{
    common::{MINUTE, TWO_MINUTES},
    installation::{installed_alone, session_namespace},
    node_pods::{all_ready, check_injected, create, desktop_with, pods},
    processes::{DESKTOP, process},
    prometheus::single_sample,
};

tests![sessions_survive_faults_of_the_agent_and_of_the_kubelet];

async fn sessions_survive_faults_of_the_agent_and_of_the_kubelet(cluster: &TestCluster) -> Result<()> {
    let _server = installed_alone(cluster).await?;
    with_agent(cluster, check_faults(cluster)).await
}

async fn check_faults(cluster: &TestCluster) -> Result<()> {
    let namespace = session_namespace(cluster).await?;
    for (name, resource) in [("alice", SHARED), ("bob", SHARED), ("carol", WHOLE)] {
        let mut pod = desktop_with(name, Some(resource));
        pod["metadata"]["annotations"][key::INTERVAL] = json!("5");
        create(cluster, &namespace, pod).await?;
    }
    let all = all_ready(cluster, &namespace, 3).await?;
    let [alice, bob, carol] = all.as_slice() else { bail!("{} pods", all.len()) };
    // The card of `carol` is idle and has no process.
    play(&[work(alice, Kind::Graphics)?, work(bob, Kind::Compute)?])?;
    for pod in &all {
        uses_agent(cluster, pod).await?;
    }
    let start = Instant::now();

    a_hung_agent(cluster, [alice, bob, carol]).await?;
    a_killed_agent(cluster, &all).await?;
    a_restarted_kubelet(cluster, &all).await?;
    // Polls that follow each other at once are often at work while the kubelet changes a volume. The old agent is replaced.
    set_variables(cluster, &["VDI_METRICS_NODE_INTERVAL=0.1", LIBRARY])?;
    pods_that_come_and_go(cluster).await?;
    set_interval(cluster)?;

    for pod in &all {
        uses_agent(cluster, pod).await?;
        check_injected(&pods(cluster, &namespace).get(&pod.name_any()).await?)?;
    }
    let seconds = start.elapsed().as_secs();
    sidecars_are_undisturbed(cluster, &namespace, all.len(), seconds).await?;
    never_shows_reason(cluster, &[alice, bob, carol], "not_allocated", seconds).await
}

/// The reports become stale or are damaged, and the next report is used again.
async fn a_hung_agent(cluster: &TestCluster, [stale, garbage, truncated]: [&Pod; 3]) -> Result<()> {
    let before = seconds(cluster, stale, SHARED_GPU).await?;
    let hung = agent()?.pause()?;
    let report = volume(truncated)?.join(REPORT);
    fs::File::options().write(true).open(&report)?.set_len(fs::metadata(&report)?.len() / 2)?;
    write_by_rename(garbage, "\u{0}not a report")?;
    passes_over_agent(cluster, truncated, "not_understood").await?;
    passes_over_agent(cluster, garbage, "not_understood").await?;
    passes_over_agent(cluster, stale, "stale").await?;
    drop(hung);
    for pod in [stale, garbage, truncated] {
        uses_agent(cluster, pod).await?;
    }
    let after = seconds(cluster, stale, SHARED_GPU).await?;
    ensure!(
        after.unsampled > before.unsampled && after.allocated > before.allocated,
        "{before:?}, {after:?}"
    );
    Ok(())
}

async fn a_killed_agent(cluster: &TestCluster, all: &[Pod]) -> Result<()> {
    let killed = agent()?;
    killed.signal("KILL")?;
    eventually("the kubelet starts the agent again", MINUTE, || async {
        ensure!(agent()?.id()? != killed.id()?, "the agent still runs");
        Ok(())
    })
    .await?;
    all_use_agent(cluster, all).await
}

/// The reports continue without the kubelet, also for a card without processes. At the end device plugins register again.
async fn a_restarted_kubelet(cluster: &TestCluster, all: &[Pod]) -> Result<()> {
    cluster.stop_kubelet()?;
    single_sample(cluster, KUBELET_UP, 0.0).await?;
    all_use_agent(cluster, all).await?;
    cluster.start_kubelet().await?;
    single_sample(cluster, KUBELET_UP, 1.0).await?;
    all_use_agent(cluster, all).await
}

/// Waits for a report of each session that is newer than this call.
async fn all_use_agent(cluster: &TestCluster, all: &[Pod]) -> Result<()> {
    let start = SystemTime::now();
    for pod in all {
        let report = volume(pod)?.join(REPORT);
        eventually("the agent writes a report", MINUTE, || async {
            ensure!(fs::metadata(&report)?.modified()? > start, "{} is old", report.display());
            Ok(())
        })
        .await?;
        uses_agent(cluster, pod).await?;
    }
    Ok(())
}

/// Pods are annotated, so that the kubelet updates their volumes, and deleted.
async fn pods_that_come_and_go(cluster: &TestCluster) -> Result<()> {
    let namespace = session_namespace(cluster).await?;
    for number in 0..MANY {
        create(cluster, &namespace, desktop_with(&format!("desktop-{number}"), None)).await?;
    }
    let all = eventually("all pods are Ready", TWO_MINUTES, || all_ready(cluster, &namespace, MANY)).await?;
    for pod in &all {
        shows(cluster, pod, "vdi_session_gpu_unavailable_info", &[("reason", "not_allocated")], 1.0).await?;
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"changed": "true"}}}));
        pods(cluster, &namespace).patch(&pod.name_any(), &PatchParams::default(), &patch).await?;
    }
    check_resident()?;
    pods(cluster, &namespace).delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    for pod in &all {
        is_removed(pod).await?;
    }
    let log = fs::read_to_string(cluster.folder().join("log/kubelet.log"))?;
    let busy: Vec<_> = log.lines().filter(|line| line.contains("target is busy")).collect();
    ensure!(busy.is_empty(), "the kubelet could not unmount a volume: {busy:#?}");
    Ok(())
}

/// A process on the shared card.
fn work(pod: &Pod, kind: Kind) -> Result<Work> {
    let pid = process(pod, DESKTOP)?.id()?;
    Ok(Work { gpu: SHARED_GPU.to_owned(), pid, kind, memory: 1 << 30, phases: [30; PHASES] })
}

const SHARED: &str = "nvidia.com/gpu.shared";
const WHOLE: &str = "nvidia.com/gpu";
/// The library of the fake driver in the agent's image. Only with a named library the agent accepts a short interval.
const LIBRARY: &str = "VDI_METRICS_NODE_NVML_LIBRARY=/usr/lib/libnvidia-ml.so.1";
const KUBELET_UP: &str = "vdi_metrics_node_kubelet_up";
/// Number of pods that come and go. One pod takes about a second on two cores.
const MANY: usize = 12;
