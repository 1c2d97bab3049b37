//! The metrics of sessions from their creation to their end, as the real Prometheus has them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{TestCluster, eventually};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use vdi_metrics::contract::{CONTAINER, key};

use crate::support::common::MINUTE;
use crate::support::desktops::desktop;
use crate::support::installation::{GPU, UTILIZATION, installed, installed_alone, session_namespace};
use crate::support::node_pods::{create, pods};
use crate::support::processes::processes;
use crate::support::prometheus::single_sample;

tests![
    a_session_has_series_from_its_creation_to_its_end,
    the_phase_gauge_agrees_with_the_api_server,
    both_programs_stay_within_their_memory_budget,
];

async fn a_session_has_series_from_its_creation_to_its_end(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    // The template is unique, so the template's histogram has only this session.
    let template = &namespace;
    let mut pod = desktop(&["sleep"]);
    pod["metadata"]["labels"][key::TEMPLATE] = json!(template);
    create(cluster, &namespace, pod).await?;

    let selector = format!("{{namespace=\"{namespace}\", pod=\"desktop\"}}");
    let utilization = format!("vdi_session_gpu_utilization_ratio{selector}");
    let labels = single_sample(cluster, &utilization, UTILIZATION).await?;
    let label = |name: &str| labels.get(name).map(String::as_str);
    ensure!(
        (label("gpu"), label("scope"), label("container")) == (Some(GPU), Some("session"), Some(CONTAINER)),
        "{labels:?}"
    );
    ensure!(
        labels.keys().all(|name| !name.starts_with("exported_")),
        "Prometheus has renamed a label of the product: {labels:?}"
    );
    let info = single_sample(cluster, &format!("vdi_session_info{selector}"), 1.0).await?;
    ensure!(
        info.get("session").is_some_and(|session| session == "alice-1")
            && info.get("template") == Some(template),
        "{info:?}"
    );
    single_sample(cluster, &format!("vdi_session_gpu_available{selector}"), 1.0).await?;
    // The second poll is 13.5 to 16.5 s after the first.
    single_sample(cluster, &format!("vdi_session_gpu_busy_seconds_total{selector} > bool 0"), 1.0).await?;
    single_sample(cluster, &format!("vdi_session_duration_seconds_count{{template=\"{template}\"}}"), 0.0)
        .await?;
    single_sample(
        cluster,
        &format!("vdi_session_failures_total{{template=\"{template}\", reason=\"error\"}}"),
        0.0,
    )
    .await?;

    let started = pods(cluster, &namespace)
        .get("desktop")
        .await?
        .status
        .and_then(|status| status.start_time)
        .context("not started")?;
    pods(cluster, &namespace).delete("desktop", &DeleteParams::default()).await?;
    eventually("the series have ended", MINUTE, || async {
        let left = cluster
            .prometheus()?
            .query(&format!("{{__name__=~\"vdi_.*\", namespace=\"{namespace}\"}}"))
            .await?;
        ensure!(left.is_empty(), "{} are left", left.len());
        Ok(())
    })
    .await?;
    single_sample(cluster, &format!("vdi_session_duration_seconds_count{{template=\"{template}\"}}"), 1.0)
        .await?;
    let sum = format!("vdi_session_duration_seconds_sum{{template=\"{template}\"}}");
    let (_, duration) = cluster.prometheus()?.query(&sum).await?.pop().context("no sum")?;
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?.as_secs_f64();
    let longest = now - started.0.as_second() as f64;
    ensure!((13.0..=longest).contains(&duration), "{duration} s, expected 13 to {longest} s");
    Ok(())
}

async fn the_phase_gauge_agrees_with_the_api_server(cluster: &TestCluster) -> Result<()> {
    let _server = installed_alone(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    for (name, arguments) in
        [("runs", vec!["sleep"]), ("succeeds", vec!["exit", "0", "1"]), ("fails", vec!["exit", "4", "1"])]
    {
        let mut pod = desktop(&arguments);
        pod["metadata"]["name"] = json!(name);
        create(cluster, &namespace, pod).await?;
    }
    let mut waits = desktop(&["sleep"]);
    waits["metadata"]["name"] = json!("waits");
    waits["spec"]["nodeSelector"] = json!({"no-such": "node"});
    create(cluster, &namespace, waits).await?;
    let before = wait_for_phases(cluster, &namespace, &["Pending", "Running", "Succeeded", "Failed"]).await?;
    pods(cluster, &namespace).delete("runs", &DeleteParams::default()).await?;
    let after = wait_for_phases(cluster, &namespace, &["Pending", "Succeeded", "Failed"]).await?;
    ensure!(before["Running"] > after["Running"], "before: {before:?}, after: {after:?}");
    Ok(())
}

async fn both_programs_stay_within_their_memory_budget(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = session_namespace(cluster).await?;
    create(cluster, &namespace, desktop(&["sleep"])).await?;
    let available = format!("vdi_session_gpu_available{{namespace=\"{namespace}\"}}");
    single_sample(cluster, &available, 1.0).await?;
    // The targets are 12 MiB and the events of the last 5 minutes, which have at most 16 MiB, and 4 MiB. The tolerance is for other machines'
    // page sizes and for moments of high load.
    for (program, max) in [("vdi-metrics", 32.0), ("vdi-metrics-sidecar", 5.0)] {
        let sizes: Vec<f64> =
            processes(program)?.iter().filter_map(|process| process.resident().ok()).collect();
        ensure!(
            !sizes.is_empty() && sizes.iter().all(|size| *size <= max),
            "{program}: {sizes:.1?} MiB, expected at most {max}"
        );
    }
    Ok(())
}

/// Waits until the namespace's pods are in exactly these phases, and Prometheus shows for each phase the number of sessions that
/// the API server has in the entire cluster. Returns that number by phase.
async fn wait_for_phases(
    cluster: &TestCluster,
    namespace: &str,
    phases: &[&str],
) -> Result<std::collections::BTreeMap<String, f64>> {
    let everywhere = Api::<Pod>::all(cluster.client.clone());
    let injected = ListParams::default().labels(&format!("{}=true", key::INJECTED));
    let phase = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        let is_over = ["Succeeded", "Failed"].contains(&phase.as_str());
        if pod.metadata.deletion_timestamp.is_some() && !is_over { "Terminating".to_owned() } else { phase }
    };
    eventually("the gauge agrees with the API server", MINUTE, || async {
        let pods = everywhere.list(&injected).await?.items;
        let here: std::collections::BTreeSet<_> = pods
            .iter()
            .filter(|pod| pod.metadata.namespace.as_deref() == Some(namespace))
            .map(phase)
            .collect();
        ensure!(here == phases.iter().map(ToString::to_string).collect(), "phases in {namespace}: {here:?}");
        let samples = cluster.prometheus()?.query("max by (phase) (vdi_sessions_total)").await?;
        ensure!(samples.len() == 6, "a phase has no series: {samples:?}");
        let shown: std::collections::BTreeMap<_, _> =
            samples.into_iter().map(|(labels, count)| (labels["phase"].clone(), count)).collect();
        for (name, count) in &shown {
            let actual = pods.iter().filter(|pod| phase(pod) == *name).count();
            ensure!(*count == actual as f64, "{name}: the gauge has {count}, the API server {actual}");
        }
        Ok(shown)
    })
    .await
}
