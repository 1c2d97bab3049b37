//! Queries to the cluster's Prometheus.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{Labels, TestCluster, eventually};
use kube::ResourceExt;
use vdi_metrics::contract::CONTAINER;

use super::common::MINUTE;

/// Waits until a query returns exactly one sample, with this value, and returns the sample's labels.
pub(crate) async fn single_sample(cluster: &TestCluster, query: &str, value: f64) -> Result<Labels> {
    eventually(format!("{query} is {value}"), MINUTE, || async {
        let mut samples = cluster.prometheus()?.query(query).await?;
        let (labels, shown) = samples.pop().context("no sample")?;
        ensure!(samples.is_empty() && shown == value, "{shown} {labels:?}, and {} more", samples.len());
        Ok(labels)
    })
    .await
}

/// The series of a metric of this pod's sidecar.
pub(crate) fn series(pod: &Pod, metric: &str) -> String {
    let namespace = pod.namespace().unwrap_or_default();
    format!("{metric}{{namespace=\"{namespace}\", pod=\"{}\", container=\"{CONTAINER}\"}}", pod.name_any())
}
