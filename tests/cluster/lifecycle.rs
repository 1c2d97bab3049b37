//! One session from its creation to its last trace, as its operator sees it: in the real Prometheus.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{Bed, eventually};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use vdi_metrics::contract::{CONTAINER, key};

use crate::product::{
    GPU, MINUTE, UTILIZATION, create, desktop, installed, installed_alone, pods, processes, session_namespace,
};

tests![
    a_session_is_seen_from_its_creation_to_its_end,
    the_phase_gauge_is_what_the_api_server_says,
    both_programs_stay_small_while_they_work,
];

async fn a_session_is_seen_from_its_creation_to_its_end(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    // A template of its own, so that the histogram is this session's alone.
    let template = &namespace;
    let mut pod = desktop(&["sleep"]);
    pod["metadata"]["labels"][key::TEMPLATE] = json!(template);
    create(bed, &namespace, pod).await?;

    let ours = format!("{{namespace=\"{namespace}\", pod=\"desktop\"}}");
    let utilization = format!("vdi_session_gpu_utilization_ratio{ours}");
    let labels = one(bed, &utilization, UTILIZATION).await?;
    let label = |name: &str| labels.get(name).map(String::as_str);
    ensure!(
        (label("gpu"), label("scope"), label("container")) == (Some(GPU), Some("session"), Some(CONTAINER))
    );
    ensure!(
        labels.keys().all(|name| !name.starts_with("exported_")),
        "a label of ours was renamed: {labels:?}"
    );
    let info = one(bed, &format!("vdi_session_info{ours}"), 1.0).await?;
    ensure!(
        info.get("session").is_some_and(|session| session == "alice-1")
            && info.get("template") == Some(template)
    );
    one(bed, &format!("vdi_session_gpu_available{ours}"), 1.0).await?;
    // The second read is 13.5 to 16.5 s after the first.
    one(bed, &format!("vdi_session_gpu_busy_seconds_total{ours} > bool 0"), 1.0).await?;
    one(bed, &format!("vdi_session_duration_seconds_count{{template=\"{template}\"}}"), 0.0).await?;
    one(bed, &format!("vdi_session_failures_total{{template=\"{template}\", reason=\"error\"}}"), 0.0)
        .await?;

    let started = pods(bed, &namespace)
        .get("desktop")
        .await?
        .status
        .and_then(|status| status.start_time)
        .context("not started")?;
    pods(bed, &namespace).delete("desktop", &DeleteParams::default()).await?;
    eventually("the series have ended", MINUTE, || async {
        let left =
            bed.prometheus()?.query(&format!("{{__name__=~\"vdi_.*\", namespace=\"{namespace}\"}}")).await?;
        ensure!(left.is_empty(), "{} are left", left.len());
        Ok(())
    })
    .await?;
    one(bed, &format!("vdi_session_duration_seconds_count{{template=\"{template}\"}}"), 1.0).await?;
    let sum = format!("vdi_session_duration_seconds_sum{{template=\"{template}\"}}");
    let (_, lasted) = bed.prometheus()?.query(&sum).await?.pop().context("no sum")?;
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?.as_secs_f64();
    let longest = now - started.0.as_second() as f64;
    ensure!((13.0..=longest).contains(&lasted), "{lasted} s of at most {longest}");
    Ok(())
}

async fn the_phase_gauge_is_what_the_api_server_says(bed: &Bed) -> Result<()> {
    let _alone = installed_alone(bed).await?;
    let namespace = session_namespace(bed).await?;
    for (name, arguments) in
        [("runs", vec!["sleep"]), ("succeeds", vec!["exit", "0", "1"]), ("fails", vec!["exit", "4", "1"])]
    {
        let mut pod = desktop(&arguments);
        pod["metadata"]["name"] = json!(name);
        create(bed, &namespace, pod).await?;
    }
    let mut waits = desktop(&["sleep"]);
    waits["metadata"]["name"] = json!("waits");
    waits["spec"]["nodeSelector"] = json!({"no-such": "node"});
    create(bed, &namespace, waits).await?;
    let before = agree(bed, &namespace, &["Pending", "Running", "Succeeded", "Failed"]).await?;
    pods(bed, &namespace).delete("runs", &DeleteParams::default()).await?;
    let after = agree(bed, &namespace, &["Pending", "Succeeded", "Failed"]).await?;
    ensure!(before["Running"] > after["Running"], "{before:?}, then {after:?}");
    Ok(())
}

async fn both_programs_stay_small_while_they_work(bed: &Bed) -> Result<()> {
    let _alive = installed(bed).await?;
    let namespace = session_namespace(bed).await?;
    create(bed, &namespace, desktop(&["sleep"])).await?;
    let available = format!("vdi_session_gpu_available{{namespace=\"{namespace}\"}}");
    one(bed, &available, 1.0).await?;
    // Aims are 12 and 4 MiB; the rest is for other machines' page sizes and a busy moment.
    for (program, most) in [("vdi-metrics", 16.0), ("vdi-metrics-sidecar", 5.0)] {
        let sizes: Vec<f64> =
            processes(program)?.iter().filter_map(|process| process.resident().ok()).collect();
        ensure!(
            !sizes.is_empty() && sizes.iter().all(|size| *size <= most),
            "{program}: {sizes:.1?} MiB, at most {most}"
        );
    }
    Ok(())
}

/// Waits until exactly these phases are in the namespace, and Prometheus shows for each phase as many sessions as the
/// API server has in the whole cluster.
async fn agree(
    bed: &Bed,
    namespace: &str,
    phases: &[&str],
) -> Result<std::collections::BTreeMap<String, f64>> {
    let everywhere = Api::<Pod>::all(bed.client.clone());
    let injected = ListParams::default().labels(&format!("{}=true", key::INJECTED));
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    eventually("the gauge agrees with the API server", MINUTE, || async {
        let pods = everywhere.list(&injected).await?.items;
        let here: std::collections::BTreeSet<_> = pods
            .iter()
            .filter(|pod| pod.metadata.namespace.as_deref() == Some(namespace))
            .map(phase)
            .collect();
        ensure!(here == phases.iter().map(ToString::to_string).collect(), "in {namespace}: {here:?}");
        let samples = bed.prometheus()?.query("max by (phase) (vdi_sessions_total)").await?;
        ensure!(samples.len() == 5, "a phase has no series: {samples:?}");
        let shown: std::collections::BTreeMap<_, _> =
            samples.into_iter().map(|(labels, count)| (labels["phase"].clone(), count)).collect();
        for (name, count) in &shown {
            let actual = pods.iter().filter(|pod| phase(pod) == *name).count();
            ensure!(*count == actual as f64, "{name}: shown {count}, are {actual}");
        }
        Ok(shown)
    })
    .await
}

/// The labels of the one sample that a query gives, once it has this value.
pub(crate) async fn one(bed: &Bed, query: &str, value: f64) -> Result<kit::cluster::Labels> {
    eventually(format!("{query} is {value}"), MINUTE, || async {
        let mut samples = bed.prometheus()?.query(query).await?;
        let (labels, shown) = samples.pop().context("no sample")?;
        ensure!(samples.is_empty() && shown == value, "{shown} {labels:?}, and {} more", samples.len());
        Ok(labels)
    })
    .await
}
