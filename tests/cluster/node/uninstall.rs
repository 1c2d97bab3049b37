//! The documented command that removes the product.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Error, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{TestCluster, eventually, load::create_at_rate};
use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::{
    common::{MINUTE, root},
    desktops::{desktop, sidecar_in_json},
    installation::{apply, installed_alone, session_namespace},
    node_pods::{all_ready, create, is_ready, pods},
};

tests![the_documented_command_removes_everything_but_sessions];

/// The product's objects without those that belong to sessions, which users own.
const OWN: &str = "app.kubernetes.io/part-of=vdi-metrics,app.kubernetes.io/component!=sessions";

/// Time between two creations, and their number: they last longer than the removal.
const INTERVAL: Duration = Duration::from_millis(150);
const CREATIONS: usize = 300;

/// The timeout of a call in `webhook.yaml`. The creation of a pod takes as long if a call gets no answer.
const TIMEOUT: Duration = Duration::from_secs(2);

async fn the_documented_command_removes_everything_but_sessions(cluster: &TestCluster) -> Result<()> {
    let _alone = installed_alone(cluster).await?;
    let sessions = session_namespace(cluster).await?;
    create(cluster, &sessions, desktop(&["sleep"])).await?;
    let [before] = all_ready(cluster, &sessions, 1).await?.try_into().map_err(|_| Error::msg("one pod"))?;

    let others = session_namespace(cluster).await?;
    let creations = tokio::spawn(creations(cluster, others.clone()));
    let injected = ListParams::default().labels(key::INJECTED);
    eventually("pods are injected", MINUTE, || async {
        ensure!(!pods(cluster, &others).list(&injected).await?.items.is_empty(), "none is injected");
        Ok(())
    })
    .await?;
    let command = documented_command()?;
    let arguments: Vec<_> = command.split_whitespace().skip(1).collect();
    let deleted = cluster.kubectl.run(&arguments)?;
    check_creations(creations.await?)?;

    ensure!(deleted.starts_with("mutatingwebhookconfiguration"), "first deleted: {deleted}");
    let left = left(cluster)?;
    ensure!(left.is_empty(), "these objects are left: {left}");
    let after = pods(cluster, &sessions).get("desktop").await?;
    ensure!(is_ready(&after), "the session is not ready: {:?}", after.status);
    ensure!(containers(&after) == containers(&before), "{:?}, {:?}", containers(&after), containers(&before));

    apply(cluster).await
}

/// The command in the README.
fn documented_command() -> Result<String> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let is_command = |line: &&str| line.starts_with("kubectl delete mutatingwebhookconfiguration,");
    Ok(readme
        .lines()
        .find(is_command)
        .context("README.md has no command that removes the product")?
        .to_owned())
}

/// Creates pods all the time. Returns for each how long that took, and whether the pod has the sidecar.
fn creations(
    cluster: &TestCluster,
    namespace: String,
) -> impl Future<Output = Result<Vec<(Duration, bool)>>> + use<> {
    let mut pod = desktop(&["sleep"]);
    pod["metadata"] = json!({"generateName": "desktop-", "labels": pod["metadata"]["labels"]});
    // The node has no capacity for so many pods.
    pod["spec"]["schedulerName"] = json!("none");
    let client = cluster.client.clone();
    async move {
        let created = create_at_rate(&client, &namespace, &pod.to_string(), INTERVAL, CREATIONS).await?;
        let outcome = created.into_iter().map(|created| {
            let pod: Value = serde_json::from_str(&created.answer.map_err(Error::msg)?)?;
            Ok((created.took, sidecar_in_json(&pod).is_some()))
        });
        outcome.collect()
    }
}

/// The first pods are created with the sidecar and the last ones without it, all of them without delay.
fn check_creations(created: Result<Vec<(Duration, bool)>>) -> Result<()> {
    let created = created?;
    let slowest = created.iter().map(|(took, _)| *took).max().unwrap_or_default();
    ensure!(slowest < TIMEOUT, "a creation took {slowest:?}");
    let [first, last] = [created.first(), created.last()].map(|pod| pod.map(|(_, injected)| *injected));
    ensure!(
        [first, last] == [Some(true), Some(false)],
        "first and last pod with sidecar: {first:?}, {last:?}"
    );
    Ok(())
}

/// The product's objects of every kind, and the objects that the server has written: they are in its namespace.
fn left(cluster: &TestCluster) -> Result<String> {
    let kinds = cluster.kubectl.run(&["api-resources", "--verbs=list", "--output=name"])?;
    let kinds = kinds.split_whitespace().collect::<Vec<_>>().join(",");
    let labelled = cluster.kubectl.run(&["get", &kinds, "-A", "-l", OWN, "--output=name"])?;
    let namespace = ["get", "namespace", "vdi-metrics", "--ignore-not-found", "--output=name"];
    Ok(labelled + &cluster.kubectl.run(&namespace)?)
}

/// The ID of each container, which a restart changes.
fn containers(pod: &Pod) -> BTreeMap<String, Option<String>> {
    let status = pod.status.iter();
    let statuses = status.flat_map(|status| [&status.init_container_statuses, &status.container_statuses]);
    let mut containers: BTreeMap<_, _> = statuses
        .flatten()
        .flatten()
        .map(|status| (status.name.clone(), status.container_id.clone()))
        .collect();
    containers.insert("pod".to_owned(), pod.uid());
    containers
}
