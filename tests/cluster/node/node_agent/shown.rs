//! What the sidecars show, as Prometheus has it.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{TestCluster, eventually};
use kube::ResourceExt;
use vdi_metrics::{contract::CONTAINER, sidecar::catalogue::CATALOGUE};

use crate::support::{
    common::MINUTE,
    prometheus::{series, single_sample},
};

/// Seconds of a device of a session, all from the same scrape.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seconds {
    pub(super) allocated: f64,
    /// Busy seconds of the session's own processes.
    pub(super) busy: f64,
    pub(super) unsampled: f64,
}

/// The agent's busy seconds of a card by the processes of this kind of owner.
pub(super) async fn busy_by(cluster: &TestCluster, gpu: &str, owner: &str) -> Result<f64> {
    let query = format!(r#"vdi_gpu_busy_seconds_total{{gpu="{gpu}", owner="{owner}"}}"#);
    let samples = cluster.prometheus()?.query(&query).await?;
    let [(_, busy)] = &samples[..] else { bail!("{query}: {samples:?}") };
    Ok(*busy)
}

/// Waits until a pod's sidecar shows this value. The labels change until agent and sidecar have polled.
pub(super) async fn shows(
    cluster: &TestCluster,
    pod: &Pod,
    metric: &str,
    labels: &[(&str, &str)],
    value: f64,
) -> Result<()> {
    single_sample(cluster, &with_labels(&series(pod, metric), labels), value).await.map(drop)
}

/// Waits until the sidecar uses the agent's reports.
pub(super) async fn uses_agent(cluster: &TestCluster, pod: &Pod) -> Result<()> {
    shows(cluster, pod, "vdi_session_gpu_attribution_info", &[("strategy", "node_agent")], 1.0).await
}

/// Waits until the sidecar does not use the agent's report, for this reason.
pub(super) async fn passes_over_agent(cluster: &TestCluster, pod: &Pod, reason: &str) -> Result<()> {
    let labels = [("strategy", "node_agent"), ("reason", reason)];
    shows(cluster, pod, "vdi_session_gpu_attribution_passed_info", &labels, 1.0).await
}

/// Waits until the sidecar shows the seconds of this device.
pub(super) async fn seconds(cluster: &TestCluster, pod: &Pod, gpu: &str) -> Result<Seconds> {
    let names = r#"__name__=~"vdi_session_gpu_(allocated|busy|unsampled)_seconds_total", "#;
    let query = with_labels(&series(pod, "").replace('{', &format!("{{{names}")), &[("gpu", gpu)]);
    eventually(format!("{query} has values"), MINUTE, || async {
        let samples = cluster.prometheus()?.query(&query).await?;
        let value = |counter: &str, scope: Option<&str>| {
            let name = format!("vdi_session_gpu_{counter}_seconds_total");
            let wanted = samples.iter().find(|(labels, _)| {
                labels.get("__name__") == Some(&name)
                    && scope.is_none_or(|scope| labels.get("scope").is_some_and(|label| label == scope))
            });
            wanted.map(|(_, value)| *value).with_context(|| format!("no {counter} in {samples:?}"))
        };
        Ok(Seconds {
            allocated: value("allocated", None)?,
            busy: value("busy", Some("session"))?,
            unsampled: value("unsampled", None)?,
        })
    })
    .await
}

/// Checks that no pod of the namespace shows an unavailable GPU for this reason in the last seconds.
pub(super) async fn never_shows_reason(
    cluster: &TestCluster,
    pods: &[&Pod],
    reason: &str,
    seconds: u64,
) -> Result<()> {
    for pod in pods {
        let selector = with_labels(&series(pod, "vdi_session_gpu_unavailable_info"), &[("reason", reason)]);
        let shown = cluster.prometheus()?.query(&format!("count_over_time({selector}[{seconds}s])")).await?;
        ensure!(shown.is_empty(), "{} shows {reason}: {shown:?}", pod.name_any());
    }
    Ok(())
}

/// Checks that each of the `count` sidecars of the namespace answered every scrape in the last seconds, and that no counter fell.
pub(super) async fn sidecars_are_undisturbed(
    cluster: &TestCluster,
    namespace: &str,
    count: usize,
    seconds: u64,
) -> Result<()> {
    let range = format!("{{namespace=\"{namespace}\", container=\"{CONTAINER}\"}}[{seconds}s]");
    let up = cluster.prometheus()?.query(&format!("min_over_time(up{range})")).await?;
    ensure!(up.len() == count && up.iter().all(|(_, up)| *up == 1.0), "a scrape failed: {up:?}");
    let mut series = 0;
    let names = CATALOGUE.iter().map(|row| row.name);
    for counter in names.filter(|name| name.ends_with("_total")) {
        let resets = cluster.prometheus()?.query(&format!("resets({counter}{range})")).await?;
        ensure!(resets.iter().all(|(_, resets)| *resets == 0.0), "{counter} fell: {resets:?}");
        series += resets.len();
    }
    ensure!(series > count, "the sidecars have {series} counters");
    Ok(())
}

fn with_labels(series: &str, labels: &[(&str, &str)]) -> String {
    let labels: String = labels.iter().map(|(label, value)| format!(", {label}=\"{value}\"")).collect();
    series.replace('}', &(labels + "}"))
}
