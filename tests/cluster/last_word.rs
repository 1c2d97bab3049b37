//! The last word: what the sidecar leaves in the pod's status, however the session ends.

use std::{pin::pin, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kit::cluster::{Bed, eventually};
use kube::{
    ResourceExt,
    api::{DeleteParams, EvictParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, key};

use crate::product::{GPU, MINUTE, create, desktop, installed, pods, processes, session_namespace};

tests![
    a_session_that_ends_by_itself_has_it,
    a_deleted_session_has_it,
    an_evicted_session_has_it,
    each_run_of_a_crashed_sidecar_has_its_own,
    a_job_completes_whatever_mode_is_asked_for,
];

async fn a_session_that_ends_by_itself_has_it(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    create(bed, &namespace, desktop(&["exit", "0", "4"])).await?;
    let pod = eventually("the session has ended", MINUTE, || async {
        let pod = pods(bed, &namespace).get("desktop").await?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
        ensure!(phase.as_deref() == Some("Succeeded"), "phase {phase:?}");
        Ok(pod)
    })
    .await?;
    // The whole session is shorter than the time between two reads: what it held is known by the read at its end.
    let word = last_word(&pod).context("no last word")?;
    is_whole(&word)?;
    let held = word["gpus"][0]["allocated"].as_u64().unwrap_or_default();
    ensure!((3..=20).contains(&held), "held for {held} s: {word}");
    ensure!(word["gpus"][0]["busy"].as_f64() > Some(0.5), "{word}");
    Ok(())
}

async fn a_deleted_session_has_it(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    running(bed, &namespace).await?;
    let word = at_the_end(bed, &namespace, async {
        pods(bed, &namespace).delete("desktop", &DeleteParams::default()).await.map(drop)
    })
    .await?;
    is_whole(&word)
}

async fn an_evicted_session_has_it(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    running(bed, &namespace).await?;
    let word = at_the_end(bed, &namespace, async {
        pods(bed, &namespace).evict("desktop", &EvictParams::default()).await.map(drop)
    })
    .await?;
    is_whole(&word)
}

async fn each_run_of_a_crashed_sidecar_has_its_own(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    let pod = running(bed, &namespace).await?;
    let uid = pod.uid().context("no uid")?;
    let sidecar = processes("vdi-metrics-sidecar")?.into_iter().find(|process| process.is_of(&uid));
    // A second, so that the two runs do not start in the same one.
    tokio::time::sleep(Duration::from_secs(1)).await;
    sidecar.context("no sidecar of this pod runs")?.signal("KILL")?;
    let killed = eventually("the sidecar runs again", MINUTE, || async {
        let pod = pods(bed, &namespace).get("desktop").await?;
        let status = sidecar_status(&pod).context("no status")?;
        ensure!(
            status.restart_count == 1 && status.state.as_ref().is_some_and(|state| state.running.is_some())
        );
        let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        parsed(last.context("no last state")?)
    })
    .await?;
    ensure!(killed["ended"] == false && killed["gpus"][0]["gpu"] == GPU, "{killed}");
    let word = at_the_end(bed, &namespace, async {
        pods(bed, &namespace).delete("desktop", &DeleteParams::default()).await.map(drop)
    })
    .await?;
    is_whole(&word)?;
    ensure!(word["session"] == killed["session"], "one session: {killed}, {word}");
    ensure!(word["start"].as_u64() > killed["start"].as_u64(), "two runs: {killed}, {word}");
    // Together they lack at most an interval of the one that was killed, and the time until the next; seconds are rounded.
    let held = |word: &Value| word["gpus"][0]["allocated"].as_f64().unwrap_or_default();
    let (all, both) = (
        word["end"].as_f64().unwrap_or_default() - word["session"].as_f64().unwrap_or_default(),
        held(&killed) + held(&word),
    );
    ensure!((all - 25.0..=all + 2.0).contains(&both), "{both} of {all}: {killed}, {word}");
    Ok(())
}

async fn a_job_completes_whatever_mode_is_asked_for(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    let mut template = desktop(&["exit", "0", "2"]);
    template["metadata"]["annotations"][key::MODE] = json!("container");
    let metadata =
        json!({"labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"]});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "nightly", "namespace": namespace},
        "spec": {"template": {"metadata": metadata, "spec": template["spec"]}},
    });
    bed.kubectl.apply(&job.to_string())?;
    let jobs = kube::Api::<k8s_openapi::api::batch::v1::Job>::namespaced(bed.client.clone(), &namespace);
    eventually("the job completes", MINUTE, || async {
        let status = jobs.get("nightly").await?.status.unwrap_or_default();
        ensure!(status.succeeded == Some(1), "{status:?}");
        Ok(())
    })
    .await
}

/// A desktop whose sidecar has read its GPU, which it has by the time that the desktop starts.
async fn running(bed: &Bed, namespace: &str) -> Result<Pod> {
    create(bed, namespace, desktop(&["sleep"])).await?;
    eventually("the desktop runs", MINUTE, || async {
        let pod = pods(bed, namespace).get("desktop").await?;
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
        ensure!(phase.as_deref() == Some("Running"), "phase {phase:?}");
        Ok(pod)
    })
    .await
}

/// The last word as a watcher sees it, which is all that anybody sees of a pod that is gone.
async fn at_the_end(
    bed: &Bed,
    namespace: &str,
    end: impl Future<Output = kube::Result<()>>,
) -> Result<Value> {
    let pods = pods(bed, namespace);
    let events = pods.watch(&WatchParams::default().fields("metadata.name=desktop"), "0").await?;
    end.await?;
    let mut events = pin!(events);
    let found = async {
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Modified(pod) | WatchEvent::Deleted(pod) = event
                && let Some(word) = last_word(&pod)
            {
                return Ok(word);
            }
        }
        anyhow::bail!("the watch ended without it")
    };
    tokio::time::timeout(MINUTE, found).await.context("no last word in a minute")?
}

fn is_whole(word: &Value) -> Result<()> {
    ensure!(word["v"] == 1 && word["ended"] == true, "{word}");
    ensure!(word["gpus"][0]["gpu"] == GPU && word["gpus"][0]["scope"] == "session", "{word}");
    ensure!(
        word["session"].as_u64() <= word["start"].as_u64() && word["start"].as_u64() <= word["end"].as_u64(),
        "{word}"
    );
    Ok(())
}

fn last_word(pod: &Pod) -> Option<Value> {
    parsed(sidecar_status(pod)?.state.as_ref()?.terminated.as_ref()?).ok()
}

fn sidecar_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == CONTAINER)
}

fn parsed(end: &ContainerStateTerminated) -> Result<Value> {
    Ok(serde_json::from_str(end.message.as_deref().context("no message")?)?)
}
