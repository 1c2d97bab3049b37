//! The counters of the ledger in Prometheus.

use std::collections::BTreeMap;

use anyhow::Result;
use kit::cluster::TestCluster;

/// The values of a query by these labels, joined by spaces, without those that are 0.
pub(super) async fn values(
    cluster: &TestCluster,
    query: &str,
    labels: &[&str],
) -> Result<BTreeMap<String, f64>> {
    let query = format!("sum by ({}) ({query}) != 0", labels.join(", "));
    let samples = cluster.prometheus()?.query(&query).await?;
    let value = |(of_sample, value): (kit::cluster::Labels, f64)| {
        let values = labels.iter().filter_map(|label| of_sample.get(*label));
        (values.cloned().collect::<Vec<_>>().join(" "), value)
    };
    Ok(samples.into_iter().map(value).collect())
}
