//! Desktops are created all the time while replicas of the server are replaced, evicted and killed.

use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kit::{
    cluster::{
        TestCluster, eventually,
        load::{Created, create_at_rate},
    },
    exposition::Exposition,
};
use kube::{
    Api, ResourceExt,
    api::{EvictParams, ListParams},
};
use serde_json::{Value, json};

use crate::support::{
    common::{MINUTE, TWO_MINUTES, report},
    desktops::{desktop, sidecar_in_json},
    installation::{NAMESPACE, REPLICAS, installed_alone, session_namespace, wait_until_serving},
    processes::processes,
    server_metrics::{pages, scraper_token},
};

tests![
    every_pod_is_injected_during_a_rolling_update_and_evictions,
    pods_without_a_sidecar_after_a_kill_are_those_that_the_api_server_let_through,
];

/// Creations per second, for this time.
const INTERVAL: Duration = Duration::from_millis(40);
const LOAD: Duration = Duration::from_secs(75);

/// The API server's count of calls that failed, while `failurePolicy: Ignore` let the pod through.
const FAIL_OPEN: &str = "apiserver_admission_webhook_fail_open_count";

/// The server's count of opted-in pods without a sidecar.
const MISSED: &str = "vdi_pods_without_sidecar";

async fn every_pod_is_injected_during_a_rolling_update_and_evictions(cluster: &TestCluster) -> Result<()> {
    let _alone = installed_alone(cluster).await?;
    let before = fail_open(cluster).await?;
    let disruptions = async {
        let restart = ["rollout", "restart", "deployment/vdi-metrics-webhook", "--namespace", NAMESPACE];
        let before = server_names(cluster).await?;
        cluster.kubectl.run(&restart)?;
        replaced(cluster, &before).await?;
        for _ in 0..REPLICAS {
            let before = server_names(cluster).await?;
            evict_one(cluster).await?;
            replaced(cluster, &before[..1]).await?;
        }
        Ok(())
    };
    let created = under_load(cluster, disruptions).await?;
    let missed = created.iter().filter(|pod| sidecar_in_json(pod).is_none()).count();
    let failed = fail_open(cluster).await? - before;
    report(&format!("replaced and evicted replicas: {} pods, {missed} without a sidecar", created.len()));
    ensure!((missed, failed) == (0, 0.0), "{missed} of {} pods, {failed} failed calls", created.len());
    Ok(())
}

async fn pods_without_a_sidecar_after_a_kill_are_those_that_the_api_server_let_through(
    cluster: &TestCluster,
) -> Result<()> {
    let _alone = installed_alone(cluster).await?;
    let token = scraper_token(cluster).await?;
    let (failed_before, counted_before) = (fail_open(cluster).await?, missed(cluster, &token).await?);
    let kills = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let servers = processes("vdi-metrics")?;
            servers.first().context("no server runs")?.signal("KILL")?;
            restarted().await?;
        }
        Ok(())
    };
    let created = under_load(cluster, kills).await?;
    let without = created.iter().filter(|pod| sidecar_in_json(pod).is_none()).count();
    let failed = fail_open(cluster).await? - failed_before;
    report(&format!(
        "killed replicas: {} pods, {without} without a sidecar, {failed} failed calls",
        created.len()
    ));
    ensure!(failed == without as f64, "{without} pods have no sidecar, {failed} calls failed");
    eventually("the server counts the pods without a sidecar", MINUTE, || async {
        let counted = missed(cluster, &token).await? - counted_before;
        ensure!(counted == failed, "{counted}, but {failed} calls failed");
        Ok(())
    })
    .await
}

/// Creates pods for [`LOAD`], while the disruptions happen. Each pod must be created.
async fn under_load(
    cluster: &TestCluster,
    disruptions: impl Future<Output = Result<()>>,
) -> Result<Vec<Value>> {
    let namespace = session_namespace(cluster).await?;
    let mut pod = desktop(&["sleep"]);
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        metadata.remove("name");
        metadata.insert("generateName".to_owned(), json!("desktop-"));
    }
    // The node has no capacity for so many pods.
    pod["spec"]["schedulerName"] = json!("none");
    let body = pod.to_string();
    let batch = usize::try_from(LOAD.as_millis() / INTERVAL.as_millis())?;
    let client = cluster.client.clone();
    // A task of its own: kubectl blocks the task of the test.
    let load = tokio::spawn(async move { create_at_rate(&client, &namespace, &body, INTERVAL, batch).await });
    disruptions.await?;
    load.await??.into_iter().map(object).collect()
}

fn object(created: Created) -> Result<Value> {
    let took = created.took;
    let pod = created.answer.map_err(Error::msg).with_context(|| format!("rejected after {took:?}"))?;
    Ok(serde_json::from_str(&pod)?)
}

async fn fail_open(cluster: &TestCluster) -> Result<f64> {
    let page = cluster.client.request_text(Request::get("/metrics").body(vec![])?).await?;
    let lines = page.lines().filter(|line| line.starts_with(FAIL_OPEN) && line.contains("vdi-metrics.io"));
    let values = lines.map(|line| Ok(line.rsplit(' ').next().context("no value")?.parse::<f64>()?));
    values.sum()
}

/// The number of pods that the webhook missed, as the leader counts them.
async fn missed(cluster: &TestCluster, token: &str) -> Result<f64> {
    eventually("a leader exposes the pods without a sidecar", MINUTE, || async {
        let pages = pages(cluster, token).await?;
        let metrics = pages.iter().map(|page| Exposition::parse(page)).collect::<Result<Vec<_>, _>>();
        let metrics = metrics.map_err(Error::msg)?;
        let of_leader = metrics.iter().find_map(|metrics| metrics.value(MISSED, &[("reason", "missed")]));
        of_leader.context("no replica leads")
    })
    .await
}

/// Waits until the kubelet has restarted the killed server. It creates no pod, because the test counts the failed calls of each.
async fn restarted() -> Result<()> {
    eventually("all servers run", TWO_MINUTES, || async {
        let running = processes("vdi-metrics")?.len();
        ensure!(running == REPLICAS as usize, "{running} servers run");
        Ok(())
    })
    .await
}

fn servers(cluster: &TestCluster) -> Api<Pod> {
    Api::namespaced(cluster.client.clone(), NAMESPACE)
}

async fn server_names(cluster: &TestCluster) -> Result<Vec<String>> {
    let selector = ListParams::default().labels("app.kubernetes.io/component=server");
    let mut names: Vec<_> =
        servers(cluster).list(&selector).await?.iter().map(ResourceExt::name_any).collect();
    names.sort();
    Ok(names)
}

async fn evict_one(cluster: &TestCluster) -> Result<()> {
    let name = server_names(cluster).await?.into_iter().next().context("no server")?;
    eventually("the budget allows the eviction", MINUTE, || async {
        Ok(servers(cluster).evict(&name, &EvictParams::default()).await.map(drop)?)
    })
    .await
}

/// Waits until these pods are gone and all replicas serve.
async fn replaced(cluster: &TestCluster, old: &[String]) -> Result<()> {
    eventually("the replicas are replaced", TWO_MINUTES, || async {
        let names = server_names(cluster).await?;
        ensure!(names.len() == REPLICAS as usize && !old.iter().any(|old| names.contains(old)), "{names:?}");
        Ok(())
    })
    .await?;
    wait_until_serving(cluster, REPLICAS).await
}
