//! Opted-in pods without a sidecar: the metric and the Events, with the shipped rights.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{core::v1::Pod, events::v1::Event};
use kit::cluster::{Cluster, Parts, TestCluster, eventually};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::{
    common::MINUTE,
    desktops::deployment,
    out_of_cluster_server::{WebhookServer, shipped_rights},
    own_control_plane::{NOT_OPTED_IN as LATE, OPTED_IN as EARLY, control_plane, minimal_pod, wait_until},
};

tests![pods_without_a_sidecar_are_counted_by_reason_and_their_owners_get_one_event];

/// On a control plane of its own, because pods of other tests have no sidecar either.
async fn pods_without_a_sidecar_are_counted_by_reason_and_their_owners_get_one_event(
    _: &TestCluster,
) -> Result<()> {
    let cluster = control_plane(Parts::Controllers).await?;
    let rights = shipped_rights(&cluster)?;

    // Before the opt-in, and before the server.
    cluster.kubectl.apply(&deployment(LATE, 2).to_string())?;
    create(&cluster, LATE, "ended", &json!({}))?;
    create(&cluster, LATE, "opted-out", &json!({"metadata": {"labels": {key::INJECT: key::DISABLED}}}))?;
    end(&cluster, LATE, "ended").await?;
    eventually("the pods of the Deployment exist", MINUTE, || async {
        let pods = pods(&cluster).await?.into_iter().filter(|pod| pod.namespace().as_deref() == Some(LATE));
        let count = pods.count();
        ensure!(count == 4, "{count} pods");
        Ok(())
    })
    .await?;
    opt_in(&cluster, LATE)?;
    let server = WebhookServer::start(&cluster, "vdi-metrics", &rights).await?;
    counts_become(&server, [2.0, 0.0, 0.0]).await?;
    events_become(&cluster, &[("ReplicaSet", "created before")]).await?;

    // The webhook is registered, but nothing listens there.
    server.register(&cluster, |configuration| set_url(configuration, "https://127.0.0.1:1/mutate"))?;
    // The times of the API server have seconds, and a pod of the same second counts as created before.
    tokio::time::sleep(Duration::from_secs(2)).await;
    create(&cluster, EARLY, "missed", &json!({}))?;
    counts_become(&server, [2.0, 1.0, 0.0]).await?;

    // The webhook answers.
    server.register(&cluster, |_| {})?;
    let injected = |pod: &Value, _: &[String]| pod["metadata"]["annotations"][key::STATUS] == "injected";
    wait_until(&cluster, "the API server calls the webhook", injected).await?;
    create(&cluster, EARLY, "injected", &json!({}))?;
    create(&cluster, EARLY, "skipped", &json!({"spec": {"hostNetwork": true}}))?;
    counts_become(&server, [2.0, 1.0, 1.0]).await?;

    // A namespace that opts in while the server runs. The API server keeps no managed fields of a namespace that is applied without any
    // field, so the second server would not know the time of its label.
    let metadata = json!({"name": "later", "annotations": {"example.com/owner": "cad"}});
    let later = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
    cluster.kubectl.apply(&later.to_string())?;
    eventually("the namespace accepts pods", MINUTE, || async {
        create(&cluster, "later", "early-bird", &json!({}))
    })
    .await?;
    opt_in(&cluster, "later")?;
    counts_become(&server, [3.0, 1.0, 1.0]).await?;
    let all = [
        ("Pod", "created before"),
        ("Pod", "did not answer"),
        ("Pod", "skipped it: host_network"),
        ("ReplicaSet", "created before"),
    ];
    events_become(&cluster, &all).await?;

    a_new_server_writes_no_second_event(&cluster, server, &all).await?;
    Ok(())
}

/// A new server knows nothing of the Events. It goes through the pods in the order of their UIDs, so when the last Event is there
/// again, it has tried to write all of them.
async fn a_new_server_writes_no_second_event(
    cluster: &Cluster,
    server: WebhookServer,
    all: &[(&str, &str)],
) -> Result<()> {
    let before = events(cluster).await?;
    let last = last_subject(cluster, &before).await?;
    let last = before.iter().find(|event| subject(event) == Some(&last)).context("no last Event")?;
    let namespace = last.namespace().context("no namespace")?;
    let kubeconfig = server.kubeconfig.clone();
    drop(server);
    Api::<Event>::namespaced(cluster.client.clone(), &namespace)
        .delete(&last.name_any(), &DeleteParams::default())
        .await?;
    let server = WebhookServer::start(cluster, "vdi-metrics-second", &kubeconfig).await?;
    counts_become(&server, [3.0, 1.0, 1.0]).await?;
    events_become(cluster, all).await?;
    let after = events(cluster).await?;
    let kept = |event: &&Event| event.name_any() != last.name_any();
    let uids = |events: &[Event]| events.iter().filter(kept).map(ResourceExt::uid).collect::<Vec<_>>();
    ensure!(uids(&before) == uids(&after), "{before:?}\n{after:?}");

    // A pod that is deleted, that ends or that opts out does not count.
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), EARLY);
    pods.delete("missed", &DeleteParams::default().grace_period(0)).await?;
    counts_become(&server, [3.0, 0.0, 1.0]).await?;
    end(cluster, "later", "early-bird").await?;
    counts_become(&server, [2.0, 0.0, 1.0]).await?;
    cluster.kubectl.run(&[
        "label",
        "pod",
        "skipped",
        "--namespace",
        EARLY,
        "vdi-metrics.io/inject=disabled",
    ])?;
    counts_become(&server, [2.0, 0.0, 0.0]).await?;
    cluster.kubectl.run(&["label", "namespace", LATE, "vdi-metrics.io/inject-"])?;
    counts_become(&server, [0.0; 3]).await
}

/// The UID of the object whose first pod without a sidecar has the greatest UID.
async fn last_subject(cluster: &Cluster, events: &[Event]) -> Result<String> {
    let mut first = BTreeMap::<String, String>::new();
    for pod in pods(cluster).await? {
        let uid = pod.uid().context("no UID")?;
        let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        let subject_uid = controller.map_or_else(|| uid.clone(), |controller| controller.uid.clone());
        if events.iter().any(|event| subject(event) == Some(&subject_uid)) {
            let first = first.entry(subject_uid).or_insert_with(|| uid.clone());
            *first = uid.min(first.clone());
        }
    }
    let last = first.into_iter().max_by(|(_, first), (_, other)| first.cmp(other));
    Ok(last.context("no Event")?.0)
}

fn subject(event: &Event) -> Option<&String> {
    event.regarding.as_ref()?.uid.as_ref()
}

fn create(cluster: &Cluster, namespace: &str, name: &str, change: &Value) -> Result<()> {
    let mut pod = minimal_pod(name);
    json_patch::merge(&mut pod, change);
    pod["metadata"]["namespace"] = json!(namespace);
    cluster.kubectl.apply(&pod.to_string()).map(drop)
}

fn opt_in(cluster: &Cluster, namespace: &str) -> Result<()> {
    cluster.kubectl.run(&["label", "namespace", namespace, "vdi-metrics.io/inject=enabled"]).map(drop)
}

/// Ends a pod as its kubelet does.
async fn end(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), namespace);
    let status = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status(name, &PatchParams::default(), &status).await?;
    Ok(())
}

fn set_url(configuration: &mut Value, url: &str) {
    for entry in configuration["webhooks"].as_array_mut().into_iter().flatten() {
        entry["clientConfig"]["url"] = json!(url);
    }
}

async fn pods(cluster: &Cluster) -> Result<Vec<Pod>> {
    Ok(Api::all(cluster.client.clone()).list(&ListParams::default()).await?.items)
}

/// The product's Events.
async fn events(cluster: &Cluster) -> Result<Vec<Event>> {
    let all = Api::<Event>::all(cluster.client.clone()).list(&ListParams::default()).await?;
    Ok(all.items.into_iter().filter(|event| event.reason.as_deref() == Some("NoMetricsSidecar")).collect())
}

/// Waits for exactly these Events: the kind of the object, and a part of the note.
async fn events_become(cluster: &Cluster, expected: &[(&str, &str)]) -> Result<()> {
    eventually(format!("Events {expected:?}"), MINUTE, || async {
        let events = events(cluster).await?;
        let shown: Vec<_> = events.iter().map(|event| (event.regarding.as_ref(), &event.note)).collect();
        ensure!(events.len() == expected.len(), "{shown:?}");
        for (kind, note) in expected {
            let is = |event: &&Event| {
                event.type_.as_deref() == Some("Warning")
                    && event.regarding.as_ref().and_then(|object| object.kind.as_deref()) == Some(kind)
                    && event.note.as_ref().is_some_and(|text| text.contains(note))
            };
            ensure!(events.iter().filter(is).count() == 1, "{kind} {note}: {shown:?}");
        }
        Ok(())
    })
    .await
}

/// Waits for these counts: created before, missed, skipped.
async fn counts_become(server: &WebhookServer, expected: [f64; 3]) -> Result<()> {
    eventually(format!("counts {expected:?}"), MINUTE, || async {
        let count = |reason| server.value("vdi_pods_without_sidecar", &[("reason", reason)]);
        let counts = [count("created_before")?, count("missed")?, count("skipped")?];
        ensure!(counts == expected, "{counts:?}");
        Ok(())
    })
    .await
}
