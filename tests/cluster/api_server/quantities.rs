//! Quantities: the API server and admission read every spelling as the same amount.

use std::fs;

use anyhow::{Context, Result, ensure};
use axum::http::Request;
use kit::cluster::TestCluster;
use kube::client::Body;
use serde_json::json;
use vdi_metrics::admission::quantity::Quantity;

use crate::support::{common::root, out_of_cluster_server::ApiResponse, own_control_plane::minimal_pod};

tests![every_spelling_is_read_as_the_api_server_reads_it];

async fn every_spelling_is_read_as_the_api_server_reads_it(cluster: &TestCluster) -> Result<()> {
    let namespace = cluster.scratch_namespace(&[]).await?;
    let table = fs::read_to_string(root().join("tests/quantities.tsv"))?;
    for row in table.lines().filter(|line| !line.starts_with('#')) {
        let (spelling, _) = row.split_once('\t').context("no tab")?;
        let mut pod = minimal_pod("desktop");
        pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "SPELLING"}});
        let body = pod.to_string().replace("\"SPELLING\"", spelling);
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        let request = Request::post(path).header("content-type", "application/json");
        let response = ApiResponse::to(cluster, request.body(Body::from(body.into_bytes()))?).await?;
        // The API server reads the escapes of a quantity as text.
        let read = serde_json::from_str::<Quantity>(spelling).ok().filter(|_| !spelling.contains('\\'));
        let is_valid = read.is_some_and(|amount| amount >= Quantity::default());
        ensure!(response.accepted == is_valid, "{spelling} is read as {read:?}; {response}");
        if is_valid {
            let stored = &response.object["spec"]["containers"][0]["resources"]["limits"]["memory"];
            ensure!(
                Quantity::parse(stored.as_str().context("no text")?) == read,
                "{spelling} is read as {read:?}; the API server stores {stored}"
            );
        }
    }
    Ok(())
}
