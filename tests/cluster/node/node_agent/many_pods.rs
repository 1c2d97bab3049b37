//! As many session pods as a large node has, all of them with a process on a card.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Error, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::{
    cluster::{CLAIMABLE_GPUS, PLUGIN_GPUS, SHARED_GPU, TestCluster, eventually},
    exposition::Exposition,
    http,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use vdi_metrics::contract::{METRICS_PATH, PORT, REPORT, key};

use super::{
    agent::{INTERVAL, with_agent},
    devices::check_resident,
    node_driver::{Kind, PHASES, Work, show},
    volume::{is_removed, volume},
};
use crate::support::{
    common::{MINUTE, RESTRICTED},
    installation::installed_alone,
    node_pods::{all_ready_within, create, desktop_with, pods},
    processes::{DESKTOP, processes},
    prometheus::single_sample,
};

tests![each_of_200_desktops_shows_its_own_use];

async fn each_of_200_desktops_shows_its_own_use(cluster: &TestCluster) -> Result<()> {
    let _server = installed_alone(cluster).await?;
    with_agent(cluster, check_pods(cluster)).await
}

async fn check_pods(cluster: &TestCluster) -> Result<()> {
    // No monitor selects the pods of this namespace: only the agent works for all of them.
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED), RESTRICTED]).await?;
    for number in 0..PODS {
        let mut pod = desktop_with(&format!("desktop-{number:03}"), None);
        // With the default of 10m, the sidecars of 200 pods request more than two cores.
        pod["metadata"]["annotations"][key::CPU] = json!("5m");
        create(cluster, &namespace, pod).await?;
    }
    let all = all_ready_within(STARTS, cluster, &namespace, PODS).await?;
    let work = work(&all)?;
    show(&work)?;
    single_sample(cluster, "vdi_metrics_node_sessions", PODS as f64).await?;
    for (pod, work) in all.iter().zip(&work) {
        eventually(format!("{} shows its own use", pod.name_any()), MINUTE, || async {
            shows_work(pod, work)
        })
        .await?;
    }
    check_agent(cluster, &all).await?;

    pods(cluster, &namespace)
        .delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default())
        .await?;
    for pod in &all {
        is_removed(pod).await?;
    }
    single_sample(cluster, "vdi_metrics_node_sessions", 0.0).await.map(drop)
}

/// One process of each pod. All cards have about the same number.
fn work(all: &[Pod]) -> Result<Vec<Work>> {
    let cards: Vec<&str> = CLAIMABLE_GPUS.into_iter().chain(PLUGIN_GPUS).chain([SHARED_GPU]).collect();
    let desktops = processes(DESKTOP)?;
    let work = |(number, pod): (usize, &Pod)| {
        let uid = pod.uid().context("no uid")?;
        let desktop = desktops.iter().find(|process| process.is_of(&uid)).context("no desktop runs")?;
        Ok(Work {
            gpu: cards[number % cards.len()].to_owned(),
            pid: desktop.id()?,
            kind: [Kind::Graphics, Kind::Compute][number % 2],
            memory: (10 + number as u64) << 20,
            phases: [0; PHASES],
        })
    };
    all.iter().enumerate().map(work).collect()
}

/// Reads the sidecar's metrics as Prometheus does.
fn shows_work(pod: &Pod, work: &Work) -> Result<()> {
    let address: IpAddr =
        pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).context("no IP")?.parse()?;
    let seen = http::get(SocketAddr::new(address, PORT), METRICS_PATH)?.body;
    let seen = Exposition::parse(&seen).map_err(Error::msg)?;
    let labels = [("gpu", &*work.gpu), ("scope", "session")];
    let bytes = seen.value("vdi_session_gpu_memory_used_bytes", &labels);
    ensure!(bytes == Some(work.memory as f64), "{bytes:?} instead of {}", work.memory);
    Ok(())
}

/// With all pods, the agent is as small and as fast as with few.
async fn check_agent(cluster: &TestCluster, all: &[Pod]) -> Result<()> {
    check_resident()?;
    single_sample(cluster, "vdi_metrics_node_poll_duration_seconds < bool 1", 1.0).await?;
    let now = SystemTime::now();
    for pod in all {
        let written = fs::metadata(volume(pod)?.join(REPORT))?.modified()?;
        let age = now.duration_since(written).unwrap_or_default();
        ensure!(age < 2 * INTERVAL, "the report of {} is {age:?} old", pod.name_any());
    }
    Ok(())
}

const PODS: usize = 200;
/// A pod takes one to three seconds on two cores.
const STARTS: Duration = Duration::from_secs(900);
