//! Pods on the node: how tests create them, wait for them and check the sidecar in them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Container, Pod};
use kit::cluster::{TestCluster, eventually};
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, key};

use super::{common::MINUTE, desktops::desktop, installation::SIDECAR_WITHOUT_GPU};

pub(crate) fn pods(cluster: &TestCluster, namespace: &str) -> Api<Pod> {
    Api::namespaced(cluster.client.clone(), namespace)
}

/// A desktop whose sidecar has no fake GPU in its image and sees only the GPUs that the node allocates.
pub(crate) fn desktop_without_fake_gpu(name: &str) -> Value {
    let mut pod = desktop(&["sleep"]);
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["annotations"] = json!({key::IMAGE: SIDECAR_WITHOUT_GPU});
    pod
}

/// A desktop as [`desktop_without_fake_gpu`], with one unit of this resource.
pub(crate) fn desktop_with(name: &str, resource: Option<&str>) -> Value {
    let mut pod = desktop_without_fake_gpu(name);
    if let Some(resource) = resource {
        pod["spec"]["containers"][0]["resources"]["limits"][resource] = json!("1");
    }
    pod
}

/// Creates a pod and returns it as the API server has stored it.
pub(crate) async fn create(cluster: &TestCluster, namespace: &str, pod: Value) -> Result<Pod> {
    Ok(pods(cluster, namespace).create(&PostParams::default(), &serde_json::from_value(pod)?).await?)
}

/// Waits at most a minute until the namespace has `count` pods and all of them are Ready.
pub(crate) async fn all_ready(cluster: &TestCluster, namespace: &str, count: usize) -> Result<Vec<Pod>> {
    all_ready_within(MINUTE, cluster, namespace, count).await
}

/// As [`all_ready`], with this time limit.
pub(crate) async fn all_ready_within(
    limit: Duration,
    cluster: &TestCluster,
    namespace: &str,
    count: usize,
) -> Result<Vec<Pod>> {
    eventually(format!("{count} Ready pods in {namespace}"), limit, || async {
        let pods = pods(cluster, namespace).list(&ListParams::default()).await?.items;
        ensure!(
            pods.len() == count && pods.iter().all(is_ready),
            "{} pods, ready: {:?}",
            pods.len(),
            pods.iter().map(is_ready).collect::<Vec<_>>()
        );
        Ok(pods)
    })
    .await
}

/// Whether the pod has the condition `Ready`.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits until the pod is in a phase.
pub(crate) async fn in_phase(cluster: &TestCluster, namespace: &str, name: &str, phase: &str) -> Result<Pod> {
    eventually(format!("{namespace}/{name} is {phase}"), MINUTE, || async {
        let pod = pods(cluster, namespace).get(name).await?;
        let now = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        ensure!(now == Some(phase), "phase {now:?}");
        Ok(pod)
    })
    .await
}

/// Whether the pod has only the annotation that [`desktop`](super::desktops::desktop) sets.
pub(crate) fn has_only_own_annotations(pod: &Pod) -> bool {
    pod.annotations().keys().all(|annotation| annotation == key::GPU_SHARING)
}

/// The sidecar's container.
pub(crate) fn sidecar(pod: &Pod) -> Option<&Container> {
    pod.spec.as_ref()?.init_containers.iter().flatten().find(|container| container.name == CONTAINER)
}

/// Checks that the pod is injected, that the sidecar runs, and that no credential of the session is mounted into it.
pub(crate) fn check_injected(pod: &Pod) -> Result<()> {
    let sidecar = sidecar(pod).context("no sidecar")?;
    ensure!(
        sidecar.restart_policy.as_deref() == Some("Always"),
        "restartPolicy {:?}",
        sidecar.restart_policy
    );
    let mounts: Vec<_> = sidecar.volume_mounts.iter().flatten().map(|mount| mount.name.as_str()).collect();
    ensure!(mounts == [CONTAINER], "mounted into the sidecar: {mounts:?}");
    let status = pod.annotations().get(key::STATUS);
    ensure!(status.is_some_and(|status| status == "injected"), "status annotation {status:?}");
    let statuses = pod.status.iter().flat_map(|status| status.init_container_statuses.iter().flatten());
    let restarts: Vec<_> = statuses.map(|status| (status.started, status.restart_count)).collect();
    ensure!(restarts == [(Some(true), 0)], "(started, restarts) of the init containers: {restarts:?}");
    Ok(())
}
