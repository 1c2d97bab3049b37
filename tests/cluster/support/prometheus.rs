//! Queries to the cluster's Prometheus.

use anyhow::{Context, Result, ensure};
use kit::cluster::{Labels, TestCluster, eventually};

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
