//! GPUs as a cluster hands them out, by claim and by device plugin: a sidecar sees its own desktop's, or says that it sees
//! none, and never takes one of its own.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{Bed, CLAIMABLE_GPUS, PLUGIN_GPUS};
use kube::ResourceExt;
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, key};

use crate::injected::{all_ready, sidecar};
use crate::lifecycle::one;
use crate::product::{Process, SIDECAR_ALONE, create, desktop, installed, processes, session_namespace};

tests![
    a_sidecar_names_the_gpu_of_its_desktops_claim,
    without_the_claim_a_sidecar_has_no_driver,
    a_device_plugins_gpu_is_the_desktops_alone,
];

async fn a_sidecar_names_the_gpu_of_its_desktops_claim(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = claims_namespace(bed).await?;
    for name in ["first", "second"] {
        create(bed, &namespace, with_a_claim(name)).await?;
    }
    let mut held = BTreeSet::new();
    for pod in all_ready(bed, &namespace, 2).await? {
        let gpu = allocated(bed, &pod)?;
        ensure!(CLAIMABLE_GPUS.contains(&gpu.as_str()), "{gpu}");
        let shown = one(bed, &of(&pod, "vdi_session_gpu_info"), 1.0).await?;
        ensure!(shown.get("gpu") == Some(&gpu), "{gpu} is allocated, shown is {shown:?}");
        let known = one(bed, &of(&pod, "vdi_session_gpu_attribution_info"), 1.0).await?;
        ensure!(known.get("strategy").is_some_and(|strategy| strategy == "claim"), "{known:?}");
        for program in [DESKTOP, SIDECAR] {
            let told = told(&process(&pod, program)?).with_context(|| format!("{program}'s metadata"))?;
            ensure!(told == gpu, "{program} is told of {told}");
        }
        held.insert(gpu);
    }
    ensure!(held.len() == 2, "both hold {held:?}");
    Ok(())
}

async fn without_the_claim_a_sidecar_has_no_driver(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = claims_namespace(bed).await?;
    let mut pod = with_a_claim("desktop");
    pod["metadata"]["annotations"][key::GPU_ACCESS] = json!("none");
    create(bed, &namespace, pod).await?;
    let pod = all_ready(bed, &namespace, 1).await?.pop().context("no pod")?;
    only_the_desktop_has_the_driver(&pod)?;
    says_that_the_library_is_missing(bed, &pod).await
}

async fn a_device_plugins_gpu_is_the_desktops_alone(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    let mut pod = on_a_device("desktop");
    pod["spec"]["containers"][0]["resources"]["limits"][RESOURCE] = json!("1");
    create(bed, &namespace, pod).await?;
    let pod = all_ready(bed, &namespace, 1).await?.pop().context("no pod")?;
    let gpu = process(&pod, DESKTOP)?.variable("NVIDIA_VISIBLE_DEVICES")?.context("no device")?;
    ensure!(PLUGIN_GPUS.contains(&gpu.as_str()), "{gpu}");
    ensure!(plugged(&pod) == [gpu.as_str()], "{gpu} is given, the pod's status says {:?}", plugged(&pod));
    // Of native sidecars the status says nothing.
    let allocations = allocations(&pod)?;
    ensure!(allocations == [("desktop".to_owned(), vec![gpu])], "{allocations:?}");
    only_the_desktop_has_the_driver(&pod)?;
    says_that_the_library_is_missing(bed, &pod).await
}

/// A session namespace in which desktops can claim one GPU each.
async fn claims_namespace(bed: &Bed) -> Result<String> {
    let namespace = session_namespace(bed).await?;
    let request = json!({"name": REQUEST, "exactly": {"deviceClassName": DRIVER}});
    let template = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": "one-gpu", "namespace": namespace},
        "spec": {"spec": {"devices": {"requests": [request]}}},
    });
    bed.kubectl.apply(&template.to_string())?;
    Ok(namespace)
}

/// A desktop whose sidecar sees of GPUs what the node gives it.
fn on_a_device(name: &str) -> Value {
    let mut pod = desktop(&["sleep"]);
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["annotations"] = json!({key::IMAGE: SIDECAR_ALONE});
    pod
}

fn with_a_claim(name: &str) -> Value {
    let mut pod = on_a_device(name);
    pod["spec"]["resourceClaims"] = json!([{"name": CLAIM, "resourceClaimTemplateName": "one-gpu"}]);
    pod["spec"]["containers"][0]["resources"] = json!({"claims": [{"name": CLAIM}]});
    pod
}

/// The GPU that the claim of a pod stands for: which device, by the claim's status, and what that is, by its slice.
fn allocated(bed: &Bed, pod: &Pod) -> Result<String> {
    let namespace = pod.namespace().context("no namespace")?;
    let claims = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_deref());
    let claim = claims.unwrap_or_default().first().and_then(|claim| claim.resource_claim_name.as_deref());
    let claim = get(bed, &["resourceclaim", claim.context("no claim")?, "--namespace", &namespace])?;
    let results = claim["status"]["allocation"]["devices"]["results"].as_array().context("no allocation")?;
    let [result] = results.as_slice() else { bail!("{results:?}") };
    let slices = get(bed, &["resourceslices"])?;
    let slices = slices["items"].as_array().into_iter().flatten();
    let slice = slices.map(|slice| &slice["spec"]).find(|slice| slice["pool"]["name"] == result["pool"]);
    let devices = slice.context("no slice")?["devices"].as_array().into_iter().flatten();
    let device =
        devices.into_iter().find(|device| device["name"] == result["device"]).context("no device")?;
    Ok(device["attributes"]["uuid"]["string"].as_str().context("no UUID")?.to_owned())
}

fn get(bed: &Bed, what: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&bed.kubectl.run(&[&["get", "--output=json"], what].concat())?)?)
}

/// The GPU that a container's own metadata file names (KEP-5304), in the first of its versions.
fn told(process: &Process) -> Result<String> {
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

/// The GPUs from a device plugin that the status of a pod knows of.
fn plugged(pod: &Pod) -> Vec<&str> {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let resources = containers.flat_map(|container| container.allocated_resources_status.iter().flatten());
    let ids = resources.filter(|resource| resource.name == RESOURCE).flat_map(|found| found.resources.iter());
    ids.flatten().map(|id| id.resource_id.as_str()).collect()
}

/// Container and GPUs of each allocation for a pod, as the kubelet itself remembers them over a restart.
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
    let ours = entries.into_iter().filter(|entry| Some(&entry.pod) == pod.metadata.uid.as_ref());
    Ok(ours
        .map(|entry| (entry.container_name, entry.by_numa_node.into_values().flatten().collect()))
        .collect())
}

fn only_the_desktop_has_the_driver(pod: &Pod) -> Result<()> {
    let ours = sidecar(pod).context("no sidecar")?;
    ensure!(ours.resources.as_ref().is_none_or(|resources| resources.claims.is_none()), "{ours:?}");
    for (program, expected) in [(DESKTOP, true), (SIDECAR, false)] {
        let has = process(pod, program)?.file(LIBRARY).exists();
        ensure!(has == expected, "{program} has the library: {has}");
    }
    Ok(())
}

async fn says_that_the_library_is_missing(bed: &Bed, pod: &Pod) -> Result<()> {
    one(bed, &of(pod, "vdi_session_gpu_available"), 0.0).await?;
    let why = one(bed, &of(pod, "vdi_session_gpu_unavailable_info"), 1.0).await?;
    ensure!(why.get("reason").is_some_and(|reason| reason == "library_missing"), "{why:?}");
    Ok(())
}

fn of(pod: &Pod, metric: &str) -> String {
    let namespace = pod.namespace().unwrap_or_default();
    format!("{metric}{{namespace=\"{namespace}\", pod=\"{}\", container=\"{CONTAINER}\"}}", pod.name_any())
}

fn process(pod: &Pod, program: &str) -> Result<Process> {
    let uid = pod.uid().context("no uid")?;
    let ours = processes(program)?.into_iter().find(|process| process.is_of(&uid));
    ours.with_context(|| format!("no {program} runs in {}", pod.name_any()))
}

const DRIVER: &str = "gpu.nvidia.com";
const RESOURCE: &str = "nvidia.com/gpu";
const LIBRARY: &str = "/usr/lib/libnvidia-ml.so.1";
const METADATA: &str = "/var/run/kubernetes.io/dra-device-attributes/resourceclaimtemplates";
const CHECKPOINT: &str = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint";

/// Two names, so that the one cannot be taken for the other.
const CLAIM: &str = "card";
const REQUEST: &str = "gpu";

/// The programs of the two containers.
const DESKTOP: &str = "desktop";
const SIDECAR: &str = "vdi-metrics-sidecar";
