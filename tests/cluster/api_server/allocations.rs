//! The GPU of each session without its sidecar, from other people's schedulers and from resource claims.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use kit::cluster::{Cluster, Parts, TestCluster, eventually};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::{
    common::MINUTE,
    out_of_cluster_server::{WebhookServer, shipped_rights},
    own_control_plane::{NOT_OPTED_IN, control_plane, minimal_pod},
};

tests![each_source_of_a_gpu_is_shown_with_the_pod_of_the_session];

const METRIC: &str = "vdi_session_gpu_allocation_info";
/// The namespace of KAI's reservation pods.
const RESERVATIONS: &str = "kai-resource-reservation";

/// On a control plane of its own, because only one server of a cluster leads.
async fn each_source_of_a_gpu_is_shown_with_the_pod_of_the_session(_: &TestCluster) -> Result<()> {
    let cluster = control_plane(Parts::ControlPlane).await?;
    let server = WebhookServer::start(&cluster, "vdi-metrics", &shipped_rights(&cluster)?).await?;
    create_namespace(&cluster, RESERVATIONS)?;

    let hami = json!({"annotations": {"hami.io/vgpu-devices-allocated": "GPU-hami,NVIDIA,1024,30:;"}});
    create(&cluster, NOT_OPTED_IN, "hami", &json!({"metadata": hami}))?;
    let group = json!({"labels": {"runai-gpu-group": "g1"}});
    create(&cluster, NOT_OPTED_IN, "fraction", &json!({"metadata": group}))?;
    let claim = json!([{"name": "card", "resourceClaimName": "card-of-alice"}]);
    create(&cluster, NOT_OPTED_IN, "claim", &json!({"spec": {"resourceClaims": claim}}))?;
    becomes(&server, &[("hami", "GPU-hami", "hami")]).await?;

    // In another namespace anybody could write the annotation of a reservation pod.
    let reserved = |uuid: &str| {
        json!({"metadata": {"labels": {"runai-gpu-group": "g1", key::INJECTED: null},
            "annotations": {"run.ai/reserve_for_gpu_index": uuid}}})
    };
    create(&cluster, NOT_OPTED_IN, "forged", &reserved("GPU-forged"))?;
    create(&cluster, RESERVATIONS, "gpu-reservation-1", &reserved("GPU-reserved"))?;
    allocate(&cluster)?;
    let all = [
        ("claim", "GPU-claimed", "claim"),
        ("fraction", "GPU-reserved", "reservation"),
        ("hami", "GPU-hami", "hami"),
    ];
    becomes(&server, &all).await?;

    cluster.kubectl.run(&[
        "delete",
        "pod",
        "gpu-reservation-1",
        "--namespace",
        RESERVATIONS,
        "--grace-period=0",
        "--force",
    ])?;
    cluster.kubectl.run(&[
        "delete",
        "pod",
        "hami",
        "--namespace",
        NOT_OPTED_IN,
        "--grace-period=0",
        "--force",
    ])?;
    becomes(&server, &all[..1]).await
}

/// Waits until these pods have these GPUs from these sources, and no pod has another one.
async fn becomes(server: &WebhookServer, expected: &[(&str, &str, &str)]) -> Result<()> {
    let expected: BTreeSet<_> =
        expected.iter().map(|(pod, gpu, source)| format!("{NOT_OPTED_IN} {pod} {gpu} {source}")).collect();
    eventually("each session has its GPU", MINUTE, || async {
        let exposition = server.exposition()?;
        let shown = exposition.series(METRIC).map(|series| {
            let labels = ["namespace", "pod", "gpu", "source"];
            labels.map(|label| series.labels.get(label).map_or("", String::as_str)).join(" ")
        });
        let shown: BTreeSet<_> = shown.collect();
        ensure!(shown == expected, "{shown:?}");
        Ok(())
    })
    .await
}

fn create_namespace(cluster: &Cluster, name: &str) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    cluster.kubectl.apply(&namespace.to_string())?;
    let metadata = json!({"name": "default", "namespace": name});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
    cluster.kubectl.apply(&account.to_string()).map(drop)
}

/// Creates a session pod with these changes.
fn create(cluster: &Cluster, namespace: &str, name: &str, changes: &Value) -> Result<()> {
    let mut pod = minimal_pod(name);
    pod["metadata"]["namespace"] = json!(namespace);
    pod["metadata"]["labels"] = json!({key::INJECTED: "true"});
    json_patch::merge(&mut pod, changes);
    cluster.kubectl.apply(&pod.to_string()).map(drop)
}

/// Allocates a device to the claim, as the scheduler and NVIDIA's driver do.
fn allocate(cluster: &Cluster) -> Result<()> {
    let (driver, pool, device) = ("gpu.nvidia.com", "node-1", "gpu-0");
    let attributes = json!({"uuid": {"string": "GPU-claimed"}});
    let slice = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "node-1-gpu"},
        "spec": {"driver": driver, "nodeName": "node-1", "devices": [{"name": device, "attributes": attributes}],
            "pool": {"name": pool, "generation": 1, "resourceSliceCount": 1}}});
    cluster.kubectl.apply(&slice.to_string())?;
    let request = json!({"name": "gpu", "exactly": {"deviceClassName": driver}});
    let claim = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": "card-of-alice", "namespace": NOT_OPTED_IN}, "spec": {"devices": {"requests": [request]}}});
    cluster.kubectl.apply(&claim.to_string())?;
    let result = json!({"request": "gpu", "driver": driver, "pool": pool, "device": device});
    let status = json!({"status": {"allocation": {"devices": {"results": [result]}}}}).to_string();
    let patch = [
        "patch",
        "resourceclaim",
        "card-of-alice",
        "--namespace",
        NOT_OPTED_IN,
        "--subresource=status",
        "--type=merge",
    ];
    cluster.kubectl.run(&[&patch[..], &["--patch", &status]].concat()).map(drop)
}
