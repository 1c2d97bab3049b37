//! The node agent as it is shipped, with a fake driver in its image. Only these tests run it: with an agent the sidecars of other
//! tests would not read their own driver.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use fake_nvml::{Device, Memory, Process, Scenario, Utilization};
use k8s_openapi::api::core::v1::Pod;
use kit::{
    cluster::{PLUGIN_GPUS, SHARED_GPU, TestCluster, eventually},
    product_images,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use vdi_metrics::contract::{ANNOTATIONS, CONTAINER, REPORT, VOLUME_PATH, key};

use crate::support::{
    common::{MINUTE, TWO_MINUTES, root},
    installation::{installed, installed_alone, session_namespace},
    node_pods::{all_ready, create, desktop_without_fake_gpu, pods},
    processes::{DESKTOP, SIDECAR, process, processes},
    prometheus::{series, single_sample},
};

tests![
    a_file_in_the_sessions_volume_lives_as_long_as_the_pod,
    sidecars_show_the_gpus_that_the_kubelet_has_allocated,
];

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

/// Two desktops share one card by time-slicing, the third has a card of its own, and the fourth has none.
async fn sidecars_show_the_gpus_that_the_kubelet_has_allocated(cluster: &TestCluster) -> Result<()> {
    let _server = installed_alone(cluster).await?;
    let result = with_agent(cluster).await;
    let logs = cluster.kubectl.run(&["logs", "daemonset/vdi-metrics-node", "--namespace", AGENT]);
    let events = cluster.kubectl.run(&["describe", "pods", "--namespace", AGENT]);
    cluster.kubectl.run(&["delete", "--kustomize", &manifests()])?;
    result.with_context(|| format!("{logs:?} {events:?}"))
}

async fn with_agent(cluster: &TestCluster) -> Result<()> {
    play(&[])?;
    install_agent(cluster)?;
    let namespace = session_namespace(cluster).await?;
    for (name, resource) in [("alice", SHARED), ("bob", SHARED), ("carol", WHOLE), ("dave", "")] {
        let mut pod = desktop_without_fake_gpu(name);
        if !resource.is_empty() {
            pod["spec"]["containers"][0]["resources"]["limits"][resource] = json!("1");
        }
        create(cluster, &namespace, pod).await?;
    }
    let all = all_ready(cluster, &namespace, 4).await?;
    let [alice, bob, carol, dave] = all.as_slice() else { bail!("{} pods", all.len()) };
    let carols = process(carol, DESKTOP)?.variable(VISIBLE_DEVICES)?.context("no device")?;
    ensure!(PLUGIN_GPUS.contains(&&*carols), "{carols}");
    for pod in [alice, bob] {
        let gpu = process(pod, DESKTOP)?.variable(VISIBLE_DEVICES)?;
        ensure!(gpu.as_deref() == Some(SHARED_GPU), "{gpu:?}");
    }
    play(&[(alice, SHARED_GPU, 1), (bob, SHARED_GPU, 2), (carol, &carols, 3)])?;

    check_agent(cluster).await?;
    for (pod, gpu, sharing, gibibytes) in [
        (alice, SHARED_GPU, "time-slicing", 1_u64),
        (bob, SHARED_GPU, "time-slicing", 2),
        (carol, &carols, "exclusive", 3),
    ] {
        shows(cluster, pod, "vdi_session_gpu_attribution_info", &[("strategy", "node_agent")], 1.0).await?;
        shows(cluster, pod, "vdi_session_gpu_info", &[("gpu", gpu), ("sharing", sharing)], 1.0).await?;
        let labels = [("gpu", gpu), ("scope", "session")];
        shows(cluster, pod, "vdi_session_gpu_memory_used_bytes", &labels, (gibibytes << 30) as f64).await?;
    }
    shows(cluster, dave, "vdi_session_gpu_available", &[], 0.0).await?;
    shows(cluster, dave, "vdi_session_gpu_unavailable_info", &[("reason", "not_allocated")], 1.0).await?;

    pods(cluster, &namespace).delete("alice", &DeleteParams::default()).await?;
    is_removed(alice).await?;
    single_sample(cluster, "vdi_metrics_node_sessions", 3.0).await.map(drop)
}

/// Waits until a pod's sidecar shows this value. The labels change until agent and sidecar have polled.
async fn shows(
    cluster: &TestCluster,
    pod: &Pod,
    metric: &str,
    labels: &[(&str, &str)],
    value: f64,
) -> Result<()> {
    let labels: String = labels.iter().map(|(label, value)| format!(", {label}=\"{value}\"")).collect();
    let series = series(pod, metric).replace('}', &(labels + "}"));
    single_sample(cluster, &series, value).await.map(drop)
}

async fn check_agent(cluster: &TestCluster) -> Result<()> {
    let agent = processes(AGENT)?.pop().context("no agent runs")?;
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
        ("vdi_metrics_node_devices", 3.0),
        ("vdi_metrics_node_sessions", 4.0),
        ("vdi_metrics_node_failures_total{reason=\"process_unreadable\"}", 0.0),
        ("vdi_metrics_node_failures_total{reason=\"volume_unreadable\"}", 0.0),
        ("vdi_metrics_node_failures_total{reason=\"report_not_written\"}", 0.0),
    ] {
        single_sample(cluster, metric, value).await?;
    }
    let resident = agent.resident()?;
    ensure!(resident < MAX_RESIDENT, "the agent has {resident} MiB");
    Ok(())
}

/// Waits until the kubelet has removed a deleted pod's folder, and so the volume.
async fn is_removed(pod: &Pod) -> Result<()> {
    let folder = pod_folder(pod)?;
    eventually("the kubelet removes the pod's folder", MINUTE, || async {
        ensure!(!folder.exists(), "{} exists", folder.display());
        Ok(())
    })
    .await
}

/// Installs the shipped manifests. The node gets the label that NVIDIA's feature discovery sets.
fn install_agent(cluster: &TestCluster) -> Result<()> {
    let image = product_images::node(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    cluster.load_image(&product_images::with_driver(image, SCENARIO)?)?;
    cluster.kubectl.run(&["label", "nodes", "--all", "--overwrite", "nvidia.com/gpu.present=true"])?;
    cluster.kubectl.run(&["apply", "--kustomize", &manifests()])?;
    let rollout = ["rollout", "status", "daemonset/vdi-metrics-node", "--timeout=60s"];
    cluster.kubectl.run(&[&rollout, &["--namespace", AGENT][..]].concat()).map(drop)
}

fn manifests() -> String {
    root().join("manifests/node-agent").display().to_string()
}

/// Sets what the agent's driver shows: the cards of the device plugins, and the desktops' processes on them, each with a number of
/// gibibytes.
fn play(used: &[(&Pod, &str, u64)]) -> Result<()> {
    let card = |uuid: &str| -> Result<Device> {
        let of_card = used.iter().filter(|(_, gpu, _)| *gpu == uuid);
        let processes: Vec<Process> = of_card
            .map(|(pod, _, gibibytes)| {
                let (pid, memory) = (process(pod, DESKTOP)?.id()?, Some(gibibytes << 30));
                Ok(Process { pid, memory, ends_after_lists: None })
            })
            .collect::<Result<_>>()?;
        let used = processes.iter().filter_map(|process| process.memory).sum();
        Ok(Device {
            uuid: Some(uuid.to_owned()),
            name: Some("NVIDIA L40S".to_owned()),
            utilization: Some(Utilization { gpu: 37, memory: 12 }),
            memory: Some(Memory { total: 48 << 30, reserved: 1 << 29, used }),
            compute: Some(vec![]),
            graphics: Some(processes),
            ..Device::default()
        })
    };
    let devices = PLUGIN_GPUS.into_iter().chain([SHARED_GPU]).map(card).collect::<Result<_>>()?;
    let scenario = Scenario { driver_version: Some("580.95.05".to_owned()), devices, ..Scenario::default() };
    Ok(scenario.write(Path::new(SCENARIO))?)
}

/// Writes the agent's file into the pod's volume, as the agent does.
fn write_by_rename(pod: &Pod, text: &str) -> Result<()> {
    let volume = pod_folder(pod)?.join("volumes/kubernetes.io~projected").join(CONTAINER);
    fs::write(volume.join(".next"), text)?;
    Ok(fs::rename(volume.join(".next"), volume.join(REPORT))?)
}

fn report_in_sidecar(pod: &Pod) -> Result<String> {
    Ok(fs::read_to_string(in_sidecar(pod, REPORT)?)?)
}

/// The path on the node of a file in the sidecar's volume, through the mounts of the sidecar's container.
fn in_sidecar(pod: &Pod, file: &str) -> Result<PathBuf> {
    Ok(process(pod, SIDECAR)?.file(&format!("{VOLUME_PATH}/{file}")))
}

fn pod_folder(pod: &Pod) -> Result<PathBuf> {
    Ok(Path::new("/var/lib/kubelet/pods").join(pod.uid().context("no uid")?))
}

/// The agent's program and its namespace.
const AGENT: &str = "vdi-metrics-node";
/// MiB, a third of the memory limit.
const MAX_RESIDENT: f64 = 10.0;
/// The scenario of the agent's driver. The shipped manifests mount this folder of the node into the agent.
const SCENARIO: &str = "/var/lib/kubelet/pod-resources/fake-nvml.json";
const VISIBLE_DEVICES: &str = "NVIDIA_VISIBLE_DEVICES";
const SHARED: &str = "nvidia.com/gpu.shared";
const WHOLE: &str = "nvidia.com/gpu";
