//! The life of each pod: the test creates it and ends it.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateWaiting, Node, Pod};
use kit::cluster::{TestCluster, eventually};
use kube::{
    Api,
    api::{DeleteParams, EvictParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::fates::{Action, Fate, NODE_WITHOUT_KUBELET, Ready};
use crate::support::{
    common::{MINUTE, TWO_MINUTES},
    node_pods::{create, in_phase, pods},
};

/// Creates the pod and does what ends the session. Returns the time of the request, in seconds since 1970.
pub(super) async fn live(cluster: &TestCluster, namespace: &str, fate: &Fate) -> Result<f64> {
    if fate.action == Action::DeleteNode {
        return live_without_kubelet(cluster, namespace, fate).await;
    }
    create(cluster, namespace, fate.pod.clone()).await?;
    is_ready(cluster, namespace, fate).await.with_context(|| fate.name)?;
    let requested = now();
    end(cluster, namespace, fate).await?;
    if fate.action != Action::DeleteWithoutKubelet {
        has_ended(cluster, namespace, fate).await?;
    }
    Ok(requested)
}

/// Deletes the running pod while the kubelet is stopped, and starts the kubelet again.
pub(super) async fn delete_without_kubelet(
    cluster: &TestCluster,
    namespace: &str,
    fate: &Fate,
) -> Result<()> {
    cluster.stop_kubelet()?;
    pods(cluster, namespace).delete(fate.name, &DeleteParams::default()).await?;
    cluster.start_kubelet().await?;
    has_ended(cluster, namespace, fate).await
}

/// The pod runs on a node without a kubelet, so the test writes its status. The node is deleted, and a controller removes the pod.
async fn live_without_kubelet(cluster: &TestCluster, namespace: &str, fate: &Fate) -> Result<f64> {
    let nodes = Api::<Node>::all(cluster.client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": NODE_WITHOUT_KUBELET}}))?;
    nodes.create(&PostParams::default(), &node).await?;
    create(cluster, namespace, fate.pod.clone()).await?;
    let status = json!({"status": running_status()});
    pods(cluster, namespace).patch_status(fate.name, &PatchParams::default(), &Patch::Merge(status)).await?;
    let requested = now();
    nodes.delete(NODE_WITHOUT_KUBELET, &DeleteParams::default()).await?;
    has_ended(cluster, namespace, fate).await?;
    Ok(requested)
}

/// The status that a kubelet writes for a running pod.
fn running_status() -> serde_json::Value {
    let since = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let running = |name: &str| {
        json!([{"name": name, "image": "", "imageID": "", "ready": true, "started": true, "restartCount": 0,
            "state": {"running": {"startedAt": since}}}])
    };
    json!({"phase": "Running", "startTime": since, "initContainerStatuses": running("vdi-metrics"),
        "containerStatuses": running("desktop")})
}

/// Waits until the pod is in the state in which the session ends.
async fn is_ready(cluster: &TestCluster, namespace: &str, fate: &Fate) -> Result<()> {
    let ready = match fate.action {
        Action::Nothing => return Ok(()),
        Action::Delete(ready) => ready,
        Action::Force | Action::Evict | Action::DeleteWithoutKubelet | Action::DeleteNode => Ready::Running,
    };
    if ready == Ready::Running {
        return in_phase(cluster, namespace, fate.name, "Running").await.map(drop);
    }
    eventually(format!("{} is in the state {ready:?}", fate.name), TWO_MINUTES, || async {
        let pod = pods(cluster, namespace).get(fate.name).await?;
        let (restarts, reason) = waiting(&pod).context("the desktop does not wait")?;
        let is_ready = match ready {
            Ready::BacksOff => restarts > 0 && reason == "CrashLoopBackOff",
            Ready::NoImage => reason == "ErrImageNeverPull",
            Ready::Running => true,
        };
        ensure!(is_ready, "{restarts} restarts, {reason}");
        Ok(())
    })
    .await
}

/// Number of restarts of the desktop, and the reason for which it waits.
fn waiting(pod: &Pod) -> Option<(i32, String)> {
    let desktop = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let ContainerState { waiting: Some(ContainerStateWaiting { reason, .. }), .. } =
        desktop.state.as_ref()?
    else {
        return None;
    };
    Some((desktop.restart_count, reason.clone()?))
}

async fn end(cluster: &TestCluster, namespace: &str, fate: &Fate) -> Result<()> {
    let pods = pods(cluster, namespace);
    match fate.action {
        Action::Delete(_) => pods.delete(fate.name, &DeleteParams::default()).await.map(drop)?,
        Action::Force => pods.delete(fate.name, &DeleteParams::default().grace_period(0)).await.map(drop)?,
        Action::Evict => pods.evict(fate.name, &EvictParams::default()).await.map(drop)?,
        Action::Nothing | Action::DeleteWithoutKubelet | Action::DeleteNode => {}
    }
    Ok(())
}

/// Waits until the pod is removed or has ended.
async fn has_ended(cluster: &TestCluster, namespace: &str, fate: &Fate) -> Result<()> {
    let limit = if fate.action == Action::DeleteNode { 2 * TWO_MINUTES } else { 2 * MINUTE };
    eventually(format!("{} has ended", fate.name), limit, || async {
        let Some(pod) = pods(cluster, namespace).get_opt(fate.name).await? else { return Ok(()) };
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        let is_terminal = ["Succeeded", "Failed"].contains(&phase.as_str());
        ensure!(is_terminal && fate.action == Action::Nothing, "phase {phase}");
        Ok(())
    })
    .await
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64())
}
