//! GPUs that the cluster allocates by resource claim or by device plugin. A sidecar sees its desktop's GPU or reports that it
//! sees none, and it never gets a GPU allocated for itself.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{CLAIMABLE_GPUS, PLUGIN_GPUS, TestCluster};
use kube::ResourceExt;
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::claims::{CLAIM, DRIVER, REQUEST, allocated_gpu, claims_namespace, desktop_with_claim};
use crate::support::installation::{installed, session_namespace};
use crate::support::node_pods::{all_ready, create, desktop_without_fake_gpu, sidecar};
use crate::support::processes::{DESKTOP, NodeProcess, SIDECAR, process};
use crate::support::prometheus::{series, single_sample};

tests![
    a_sidecar_shows_the_gpu_of_its_desktops_claim,
    a_sidecar_without_the_claim_has_no_driver,
    a_device_plugins_gpu_is_allocated_only_to_the_desktop,
];

async fn a_sidecar_shows_the_gpu_of_its_desktops_claim(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = claims_namespace(cluster).await?;
    for name in ["first", "second"] {
        create(cluster, &namespace, desktop_with_claim(name)).await?;
    }
    let mut gpus = BTreeSet::new();
    for pod in all_ready(cluster, &namespace, 2).await? {
        let gpu = allocated_gpu(cluster, &pod)?;
        ensure!(CLAIMABLE_GPUS.contains(&gpu.as_str()), "{gpu}");
        let shown = single_sample(cluster, &series(&pod, "vdi_session_gpu_info"), 1.0).await?;
        ensure!(shown.get("gpu") == Some(&gpu), "{gpu} is allocated, but the metrics show {shown:?}");
        let attribution =
            single_sample(cluster, &series(&pod, "vdi_session_gpu_attribution_info"), 1.0).await?;
        ensure!(attribution.get("strategy").is_some_and(|strategy| strategy == "claim"), "{attribution:?}");
        check_allocation(cluster, &pod, &gpu, "claim").await?;
        for program in [DESKTOP, SIDECAR] {
            let named = claim_metadata_gpu(&process(&pod, program)?)
                .with_context(|| format!("the metadata file of {program}"))?;
            ensure!(named == gpu, "the metadata file of {program} names {named}");
        }
        gpus.insert(gpu);
    }
    ensure!(gpus.len() == 2, "two pods have {gpus:?}");
    Ok(())
}

async fn a_sidecar_without_the_claim_has_no_driver(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = claims_namespace(cluster).await?;
    let mut pod = desktop_with_claim("desktop");
    pod["metadata"]["annotations"][key::GPU_ACCESS] = json!("none");
    create(cluster, &namespace, pod).await?;
    let pod = all_ready(cluster, &namespace, 1).await?.pop().context("no pod")?;
    check_only_desktop_has_driver(&pod)?;
    check_library_is_missing(cluster, &pod).await
}

async fn a_device_plugins_gpu_is_allocated_only_to_the_desktop(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    let mut pod = desktop_without_fake_gpu("desktop");
    pod["spec"]["containers"][0]["resources"]["limits"][RESOURCE] = json!("1");
    create(cluster, &namespace, pod).await?;
    let pod = all_ready(cluster, &namespace, 1).await?.pop().context("no pod")?;
    let gpu = process(&pod, DESKTOP)?.variable("NVIDIA_VISIBLE_DEVICES")?.context("no device")?;
    ensure!(PLUGIN_GPUS.contains(&gpu.as_str()), "{gpu}");
    let in_status = device_plugin_gpus(&pod);
    ensure!(in_status == [gpu.as_str()], "{gpu} is allocated, but the pod's status has {in_status:?}");
    check_allocation(cluster, &pod, &gpu, "kubelet").await?;
    // The pod's status has no allocations of native sidecars, so the kubelet's checkpoint is read too.
    let allocations = allocations(&pod)?;
    ensure!(allocations == [("desktop".to_owned(), vec![gpu])], "{allocations:?}");
    check_only_desktop_has_driver(&pod)?;
    check_library_is_missing(cluster, &pod).await
}

/// The server shows the GPU of the pod, with the labels of the pod and not of the server.
async fn check_allocation(cluster: &TestCluster, pod: &Pod, gpu: &str, source: &str) -> Result<()> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let query = format!("vdi_session_gpu_allocation_info{{namespace=\"{namespace}\", pod=\"{name}\"}}");
    let shown = single_sample(cluster, &query, 1.0).await?;
    let label = |name: &str| shown.get(name).map(String::as_str);
    ensure!((label("gpu"), label("source")) == (Some(gpu), Some(source)), "{gpu} {source}: {shown:?}");
    Ok(())
}

/// The UUID of the GPU in a container's metadata file (KEP-5304), from the first of the file's versions.
fn claim_metadata_gpu(process: &NodeProcess) -> Result<String> {
    let file = fs::read(process.file(&format!("{METADATA}/{CLAIM}/{REQUEST}/{DRIVER}-metadata.json")))?;
    let versions: Vec<Value> =
        serde_json::Deserializer::from_slice(&file).into_iter().collect::<Result<_, _>>()?;
    let names: Vec<_> = versions.iter().map(|version| version["apiVersion"].as_str()).collect();
    ensure!(
        names == [Some("metadata.resource.k8s.io/v1beta1"), Some("metadata.resource.k8s.io/v1alpha1")],
        "{names:?}"
    );
    let attributes = &versions[0]["requests"][0]["devices"][0]["attributes"];
    Ok(attributes["uuid"]["string"].as_str().with_context(|| attributes.to_string())?.to_owned())
}

/// The GPUs from the device plugin that are in the pod's status.
fn device_plugin_gpus(pod: &Pod) -> Vec<&str> {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let resources = containers.flat_map(|container| container.allocated_resources_status.iter().flatten());
    let ids =
        resources.filter(|resource| resource.name == RESOURCE).flat_map(|resource| resource.resources.iter());
    ids.flatten().map(|id| id.resource_id.as_str()).collect()
}

/// Container and GPUs of each allocation for a pod, from the checkpoint that the kubelet keeps for its own restart.
fn allocations(pod: &Pod) -> Result<Vec<(String, Vec<String>)>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        #[serde(rename = "PodUID")]
        pod: String,
        container_name: String,
        #[serde(rename = "DeviceIDs")]
        by_numa_node: std::collections::BTreeMap<String, Vec<String>>,
    }
    let checkpoint: Value = serde_json::from_slice(&fs::read(CHECKPOINT)?)?;
    let entries: Vec<Entry> = serde_json::from_value(checkpoint["Data"]["PodDeviceEntries"].clone())?;
    let of_pod = entries.into_iter().filter(|entry| Some(&entry.pod) == pod.metadata.uid.as_ref());
    Ok(of_pod
        .map(|entry| (entry.container_name, entry.by_numa_node.into_values().flatten().collect()))
        .collect())
}

fn check_only_desktop_has_driver(pod: &Pod) -> Result<()> {
    let sidecar = sidecar(pod).context("no sidecar")?;
    ensure!(sidecar.resources.as_ref().is_none_or(|resources| resources.claims.is_none()), "{sidecar:?}");
    for (program, expected) in [(DESKTOP, true), (SIDECAR, false)] {
        let has = process(pod, program)?.file(LIBRARY).exists();
        ensure!(has == expected, "{program} has the library: {has}");
    }
    Ok(())
}

async fn check_library_is_missing(cluster: &TestCluster, pod: &Pod) -> Result<()> {
    single_sample(cluster, &series(pod, "vdi_session_gpu_available"), 0.0).await?;
    let info = single_sample(cluster, &series(pod, "vdi_session_gpu_unavailable_info"), 1.0).await?;
    ensure!(info.get("reason").is_some_and(|reason| reason == "library_missing"), "{info:?}");
    Ok(())
}

const RESOURCE: &str = "nvidia.com/gpu";
const LIBRARY: &str = "/usr/lib/libnvidia-ml.so.1";
const METADATA: &str = "/var/run/kubernetes.io/dra-device-attributes/resourceclaimtemplates";
const CHECKPOINT: &str = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint";
