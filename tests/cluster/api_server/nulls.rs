//! Null: admission reads a pod with a null as it reads the pod that the API server stores.

use anyhow::{Result, ensure};
use kit::{
    cluster::TestCluster,
    nulls::{complete_pod, pods_with_a_null},
};
use serde_json::Value;
use vdi_metrics::admission::{Injector, Namespaces, Settings};

use crate::support::out_of_cluster_server::dry_run;

tests![null_is_read_as_the_api_server_stores_it];

async fn null_is_read_as_the_api_server_stores_it(cluster: &TestCluster) -> Result<()> {
    let namespace = cluster.scratch_namespace(&[]).await?;
    let injector = Injector::new(Settings::default());
    let decide = |pod: &Value| {
        injector.consider(pod.to_string().as_bytes(), &namespace, &Namespaces::default()).outcome
    };
    let complete = dry_run(cluster, &namespace, &complete_pod()).await?;
    ensure!(complete.accepted, "{complete}");
    let mut accepted = 0;
    for (pointer, pod) in pods_with_a_null() {
        let stored = dry_run(cluster, &namespace, &pod).await?;
        if stored.accepted {
            let (sent, stored) = (decide(&pod), decide(&stored.object));
            ensure!(
                sent == stored,
                "with null at {pointer}: {sent}, as the API server stores the pod: {stored}"
            );
            accepted += 1;
        }
    }
    ensure!(accepted > 20, "only {accepted} pods with a null were accepted");
    Ok(())
}
