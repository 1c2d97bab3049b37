//! The volume of a session, into which the agent writes.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{TestCluster, eventually};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use vdi_metrics::contract::{ANNOTATIONS, CONTAINER, REPORT, VOLUME_PATH, key};

use crate::support::{
    common::{MINUTE, TWO_MINUTES},
    installation::{installed, session_namespace},
    node_pods::{all_ready, create, desktop_without_fake_gpu, pods},
    processes::{SIDECAR, process},
};

tests![a_file_in_the_sessions_volume_lives_as_long_as_the_pod];

/// The agent writes by rename into a volume that the kubelet manages.
async fn a_file_in_the_sessions_volume_lives_as_long_as_the_pod(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    create(cluster, &namespace, desktop_without_fake_gpu("plain")).await?;
    let mut with_group = desktop_without_fake_gpu("with-group");
    with_group["spec"]["securityContext"]["fsGroup"] = json!(2000);
    create(cluster, &namespace, with_group).await?;
    let mut second_container = desktop_without_fake_gpu("second-container");
    second_container["metadata"]["annotations"][key::MODE] = json!("container");
    create(cluster, &namespace, second_container).await?;
    let all = all_ready(cluster, &namespace, 3).await?;
    for pod in &all {
        write_by_rename(pod, "first")?;
        ensure!(report_in_sidecar(pod)? == "first", "{}: the file is not seen", pod.name_any());
        write_by_rename(pod, "second")?;
        ensure!(report_in_sidecar(pod)? == "second", "{}: the file is not replaced", pod.name_any());
        let written = fs::write(in_sidecar(pod, REPORT)?, "forged").map_err(|error| error.kind());
        ensure!(written == Err(ErrorKind::ReadOnlyFilesystem), "{}: {written:?}", pod.name_any());
    }
    for pod in &all {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"changed": "true"}}}));
        pods(cluster, &namespace).patch(&pod.name_any(), &PatchParams::default(), &patch).await?;
    }
    for pod in &all {
        eventually("the kubelet updates the volume", TWO_MINUTES, || async {
            let annotations = fs::read_to_string(in_sidecar(pod, ANNOTATIONS)?)?;
            ensure!(annotations.contains("changed"), "{annotations}");
            Ok(())
        })
        .await?;
        ensure!(report_in_sidecar(pod)? == "second", "{}: the update removes the file", pod.name_any());
        write_by_rename(pod, "third")?;
        ensure!(report_in_sidecar(pod)? == "third", "{}: the file is not replaced", pod.name_any());
    }
    for pod in &all {
        pods(cluster, &namespace).delete(&pod.name_any(), &DeleteParams::default()).await?;
    }
    for pod in &all {
        is_removed(pod).await?;
    }
    Ok(())
}

/// Waits until the kubelet has removed a deleted pod's folder, and so the volume.
pub(super) async fn is_removed(pod: &Pod) -> Result<()> {
    let folder = pod_folder(pod)?;
    eventually("the kubelet removes the pod's folder", MINUTE, || async {
        ensure!(!folder.exists(), "{} exists", folder.display());
        Ok(())
    })
    .await
}

/// Replaces the agent's file in the pod's volume, as the agent does.
pub(super) fn write_by_rename(pod: &Pod, text: &str) -> Result<()> {
    let volume = volume(pod)?;
    fs::write(volume.join(".next"), text)?;
    Ok(fs::rename(volume.join(".next"), volume.join(REPORT))?)
}

/// The path on the node of the volume `vdi-metrics` of a pod.
pub(super) fn volume(pod: &Pod) -> Result<PathBuf> {
    Ok(pod_folder(pod)?.join("volumes/kubernetes.io~projected").join(CONTAINER))
}

/// The kubelet's folder of a pod.
pub(super) fn pod_folder(pod: &Pod) -> Result<PathBuf> {
    Ok(Path::new("/var/lib/kubelet/pods").join(pod.uid().context("no uid")?))
}

fn report_in_sidecar(pod: &Pod) -> Result<String> {
    Ok(fs::read_to_string(in_sidecar(pod, REPORT)?)?)
}

/// The path on the node of a file in the sidecar's volume, through the mounts of the sidecar's container.
fn in_sidecar(pod: &Pod, file: &str) -> Result<PathBuf> {
    Ok(process(pod, SIDECAR)?.file(&format!("{VOLUME_PATH}/{file}")))
}
