//! Many desktops at once: each is accepted and gets the sidecar, with one webhook call.

use anyhow::{Error, Result, ensure};
use kit::cluster::{TestCluster, load::create_concurrently};
use kit::desktop::{Size, pod};
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, key};

use crate::support::audit_log;
use crate::support::out_of_cluster_server::registered;

tests![all_of_3000_concurrent_pods_get_the_sidecar];

const PODS: usize = 3000;
const CLIENTS: usize = 32;

async fn all_of_3000_concurrent_pods_get_the_sidecar(cluster: &TestCluster) -> Result<()> {
    let _server = registered(cluster).await?;
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let mut desktop = pod(Size::Medium);
    // No node has capacity for so many pods, and a scheduler that keeps trying would slow down the other tests.
    desktop["spec"]["schedulerName"] = json!("none");
    let created =
        create_concurrently(&cluster.client, &namespace, &desktop.to_string(), CLIENTS, PODS).await?;
    ensure!(created.len() == PODS, "{} pods", created.len());
    for created in created {
        let pod: Value = serde_json::from_str(&created.answer.map_err(Error::msg)?)?;
        let has_sidecar = pod["spec"]["initContainers"][0]["name"] == CONTAINER;
        ensure!(has_sidecar, "no sidecar, response after {:?}: {pod:#}", created.took);
    }
    for creation in audit_log::creations(cluster, &namespace, PODS).await? {
        ensure!(creation.calls() == 1 && creation.decisions() == ["injected"], "{creation:#?}");
    }
    Ok(())
}
