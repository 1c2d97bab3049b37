//! The breaker with the shipped rights. The tests write the status of pods as their kubelets do, so a cluster can have nodes
//! with a fault.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::api::{core::v1::Pod, events::v1::Event};
use k8s_openapi::jiff::Timestamp;
use kit::cluster::{Cluster, Parts, TestCluster, eventually};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, key};

use crate::support::{
    common::MINUTE,
    out_of_cluster_server::{WebhookServer, shipped_rights},
    own_control_plane::{OPTED_IN, control_plane, dry_run, minimal_pod},
};

tests![one_node_with_a_fault_does_not_pause_injection_and_two_do];

const NODES: [&str; 3] = ["works", "faulty", "faulty-too"];

/// On a control plane of its own, because the pods of other tests would count too.
async fn one_node_with_a_fault_does_not_pause_injection_and_two_do(_: &TestCluster) -> Result<()> {
    let cluster = control_plane(Parts::Controllers).await?;
    let configuration = cluster.folder().join("configuration.yaml");
    fs::write(&configuration, "paused: false")?;
    let path = configuration.display().to_string();
    let arguments = ["--metrics-authentication", "none", "--config", &path];
    let rights = shipped_rights(&cluster)?;
    let server = WebhookServer::start_with(&cluster, "vdi-metrics", &rights, &arguments).await?;
    server.register(&cluster, |_| {})?;
    for node in NODES {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
        cluster.kubectl.apply(&node.to_string())?;
    }
    decision_becomes(&cluster, "injected").await?;

    create(&cluster, "starts", "works").await?;
    runs(&cluster, "starts").await?;
    for name in ["a", "b", "c", "d"] {
        create(&cluster, name, "faulty").await?;
        fails(&cluster, name).await?;
    }
    blocked_become(&server, 4.0).await?;
    // Failures on the only node pause injection after 15 s.
    tokio::time::sleep(Duration::from_secs(18)).await;
    ensure!(paused(&server)? == [0.0; 3], "one node has paused injection: {:?}", paused(&server)?);
    decision_becomes(&cluster, "injected").await?;

    create(&cluster, "e", "faulty-too").await?;
    fails(&cluster, "e").await?;
    paused_become(&server, [0.0, 0.0, 1.0]).await?;
    decision_becomes(&cluster, "skipped: breaker_open").await?;
    let (_, warnings) = dry_run(&cluster, OPTED_IN, &desktop("early")).await?;
    ensure!(warnings.iter().any(|text| text.contains("injection is paused")), "{warnings:?}");
    event_exists(&cluster, "default", "InjectionPaused", "(template cad)").await?;
    event_exists(&cluster, OPTED_IN, "SidecarBlocksPod", "ErrImagePull").await?;

    // The image can be pulled again, and the kubelet retries.
    runs(&cluster, "e").await?;
    paused_become(&server, [0.0; 3]).await?;
    blocked_become(&server, 4.0).await?;
    decision_becomes(&cluster, "injected").await?;
    event_exists(&cluster, "default", "InjectionResumed", "(template cad)").await?;

    fs::write(&configuration, "paused: true")?;
    decision_becomes(&cluster, "skipped: paused").await?;
    paused_become(&server, [1.0, 0.0, 0.0]).await
}

fn desktop(name: &str) -> Value {
    let mut pod = minimal_pod(name);
    pod["metadata"]["labels"] = json!({key::TEMPLATE: "cad"});
    pod
}

/// Creates a desktop on a node, and checks that it is injected.
async fn create(cluster: &Cluster, name: &str, node: &str) -> Result<()> {
    let mut pod = desktop(name);
    pod["spec"]["nodeName"] = json!(node);
    let pods = pods(cluster);
    let pod = pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let status = pod.annotations().get(key::STATUS);
    ensure!(status.is_some_and(|status| status == "injected"), "{name}: {status:?}");
    Ok(())
}

fn pods(cluster: &Cluster) -> Api<Pod> {
    Api::namespaced(cluster.client.clone(), OPTED_IN)
}

/// The status of a pod whose sidecar has no image.
async fn fails(cluster: &Cluster, name: &str) -> Result<()> {
    let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
    set_status(cluster, name, "Pending", container(CONTAINER, &waiting)).await
}

/// The status of a pod that has started.
async fn runs(cluster: &Cluster, name: &str) -> Result<()> {
    let running = json!({"running": {"startedAt": Timestamp::now()}});
    set_status(cluster, name, "Running", container(CONTAINER, &running)).await
}

fn container(name: &str, state: &Value) -> Value {
    json!({"name": name, "ready": false, "restartCount": 0, "image": "image", "imageID": "", "state": state})
}

async fn set_status(cluster: &Cluster, name: &str, phase: &str, sidecar: Value) -> Result<()> {
    let status = json!({"phase": phase, "startTime": Timestamp::now(), "initContainerStatuses": [sidecar]});
    let patch = Patch::Merge(json!({"status": status}));
    pods(cluster).patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits for a status annotation of new desktops.
async fn decision_becomes(cluster: &Cluster, expected: &str) -> Result<()> {
    let what = format!("the status annotation is {expected}");
    eventually(what, MINUTE, || async {
        let (pod, warnings) = dry_run(cluster, OPTED_IN, &desktop("early")).await?;
        let status = &pod["metadata"]["annotations"][key::STATUS];
        ensure!(status == expected, "{status} {warnings:?}");
        Ok(())
    })
    .await
}

/// The pauses by the configuration, of all pods and of templates.
fn paused(server: &WebhookServer) -> Result<[f64; 3]> {
    let count = |scope| server.value("vdi_metrics_injection_paused", &[("scope", scope)]);
    Ok([count("configuration")?, count("all")?, count("template")?])
}

async fn paused_become(server: &WebhookServer, expected: [f64; 3]) -> Result<()> {
    eventually(format!("pauses {expected:?}"), MINUTE, || async {
        let paused = paused(server)?;
        ensure!(paused == expected, "{paused:?}");
        Ok(())
    })
    .await
}

async fn blocked_become(server: &WebhookServer, expected: f64) -> Result<()> {
    eventually(format!("{expected} blocked pods"), MINUTE, || async {
        let blocked = server.value("vdi_sessions_blocked_by_sidecar", &[("reason", "ErrImagePull")])?;
        ensure!(blocked == expected, "{blocked}");
        Ok(())
    })
    .await
}

/// Waits for an Event with this reason and this part of its note.
async fn event_exists(cluster: &Cluster, namespace: &str, reason: &str, note: &str) -> Result<()> {
    let events = Api::<Event>::namespaced(cluster.client.clone(), namespace);
    eventually(format!("an Event {reason}"), MINUTE, || async {
        let events = events.list(&ListParams::default()).await?.items;
        let notes: Vec<_> = events
            .iter()
            .filter(|event| event.reason.as_deref() == Some(reason))
            .map(|event| (event.regarding.as_ref().and_then(|it| it.uid.as_ref()), event.note.as_deref()))
            .collect();
        let is = |(uid, text): &(Option<&String>, Option<&str>)| {
            uid.is_some() && text.is_some_and(|text| text.contains(note))
        };
        ensure!(notes.iter().any(is), "{notes:?}");
        Ok(())
    })
    .await
}
