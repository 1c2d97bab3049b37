//! The sidecar's termination message: it must be in the pod's status, however the session ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{TestCluster, eventually};
use kube::{
    ResourceExt,
    api::{DeleteParams, EvictParams},
};
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::support::common::MINUTE;
use crate::support::desktops::desktop;
use crate::support::installation::{GPU, installed, session_namespace};
use crate::support::node_pods::{create, in_phase, pods};
use crate::support::processes::processes;
use crate::support::termination::{message, message_after, parse, sidecar_status};

tests![
    a_session_that_ends_by_itself_has_a_message,
    a_deleted_session_has_a_message,
    an_evicted_session_has_a_message,
    each_run_of_a_killed_sidecar_has_its_own_message,
    a_job_completes_in_container_mode,
];

async fn a_session_that_ends_by_itself_has_a_message(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    create(cluster, &namespace, desktop(&["exit", "0", "4"])).await?;
    let pod = in_phase(cluster, &namespace, "desktop", "Succeeded").await?;
    // The session is shorter than the interval between two polls, so the totals come from the poll at its end.
    let message = message(&pod).context("no termination message")?;
    check_complete(&message)?;
    let allocated = message["gpus"][0]["allocated"].as_u64().unwrap_or_default();
    ensure!((3..=20).contains(&allocated), "allocated for {allocated} s: {message}");
    ensure!(message["gpus"][0]["busy"].as_f64() > Some(0.5), "{message}");
    Ok(())
}

async fn a_deleted_session_has_a_message(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    running(cluster, &namespace).await?;
    let message = message_after(cluster, &namespace, async {
        pods(cluster, &namespace).delete("desktop", &DeleteParams::default()).await.map(drop)
    })
    .await?;
    check_complete(&message)
}

async fn an_evicted_session_has_a_message(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    running(cluster, &namespace).await?;
    let message = message_after(cluster, &namespace, async {
        pods(cluster, &namespace).evict("desktop", &EvictParams::default()).await.map(drop)
    })
    .await?;
    check_complete(&message)
}

async fn each_run_of_a_killed_sidecar_has_its_own_message(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    let pod = running(cluster, &namespace).await?;
    let uid = pod.uid().context("no uid")?;
    let sidecar = processes("vdi-metrics-sidecar")?.into_iter().find(|process| process.is_of(&uid));
    // Start times are in whole seconds; the wait makes the start times of the two runs differ.
    tokio::time::sleep(Duration::from_secs(1)).await;
    sidecar.context("no sidecar of this pod runs")?.signal("KILL")?;
    let killed = eventually("the sidecar runs again", MINUTE, || async {
        let pod = pods(cluster, &namespace).get("desktop").await?;
        let status = sidecar_status(&pod).context("no status")?;
        let runs = status.state.as_ref().is_some_and(|state| state.running.is_some());
        ensure!(status.restart_count == 1 && runs, "{status:?}");
        let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        parse(last.context("no last state")?)
    })
    .await?;
    ensure!(killed["ended"] == false && killed["gpus"][0]["gpu"] == GPU, "{killed}");
    let message = message_after(cluster, &namespace, async {
        pods(cluster, &namespace).delete("desktop", &DeleteParams::default()).await.map(drop)
    })
    .await?;
    check_complete(&message)?;
    ensure!(message["session"] == killed["session"], "not one session: {killed}, {message}");
    ensure!(message["start"].as_u64() > killed["start"].as_u64(), "not two runs: {killed}, {message}");
    // The sum of both runs can lack at most one interval of the killed run and the time until the next start. Seconds are
    // rounded.
    let allocated = |message: &Value| message["gpus"][0]["allocated"].as_f64().unwrap_or_default();
    let (session, both) = (
        message["end"].as_f64().unwrap_or_default() - message["session"].as_f64().unwrap_or_default(),
        allocated(&killed) + allocated(&message),
    );
    ensure!((session - 25.0..=session + 2.0).contains(&both), "{both} of {session} s: {killed}, {message}");
    Ok(())
}

async fn a_job_completes_in_container_mode(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    let mut template = desktop(&["exit", "0", "2"]);
    template["metadata"]["annotations"][key::MODE] = json!("container");
    let metadata =
        json!({"labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"]});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "nightly", "namespace": namespace},
        "spec": {"template": {"metadata": metadata, "spec": template["spec"]}},
    });
    cluster.kubectl.apply(&job.to_string())?;
    let jobs = kube::Api::<k8s_openapi::api::batch::v1::Job>::namespaced(cluster.client.clone(), &namespace);
    eventually("the job completes", MINUTE, || async {
        let status = jobs.get("nightly").await?.status.unwrap_or_default();
        ensure!(status.succeeded == Some(1), "{status:?}");
        Ok(())
    })
    .await
}

/// A running desktop. Its sidecar has polled the GPU, because it does so before the desktop starts.
async fn running(cluster: &TestCluster, namespace: &str) -> Result<Pod> {
    create(cluster, namespace, desktop(&["sleep"])).await?;
    in_phase(cluster, namespace, "desktop", "Running").await
}

/// Checks the message of a session that has ended.
fn check_complete(message: &Value) -> Result<()> {
    ensure!(message["v"] == 2 && message["ended"] == true, "{message}");
    ensure!(message["gpus"][0]["gpu"] == GPU && message["gpus"][0]["scope"] == "session", "{message}");
    ensure!(
        message["session"].as_u64() <= message["start"].as_u64()
            && message["start"].as_u64() <= message["end"].as_u64(),
        "{message}"
    );
    Ok(())
}
