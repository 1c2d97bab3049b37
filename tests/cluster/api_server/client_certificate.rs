//! A webhook that answers only clients with a certificate, and a real API server that has one.

use std::fs;

use anyhow::{Context, Result, ensure};
use kit::{
    cluster::{Parts, TestCluster},
    tls::client_certificate::ClientAuthority,
};
use serde_json::Value;
use vdi_metrics::contract::key;

use crate::support::{
    out_of_cluster_server::{WebhookServer, shipped_rights},
    own_control_plane::{OPTED_IN, control_plane, dry_run, minimal_pod, wait_until},
};

tests![only_an_api_server_with_a_certificate_of_the_authority_gets_a_sidecar];

/// On a control plane of its own, because no pod gets a sidecar for a while.
async fn only_an_api_server_with_a_certificate_of_the_authority_gets_a_sidecar(
    _: &TestCluster,
) -> Result<()> {
    let cluster = control_plane(Parts::ControlPlane).await?;
    let rights = shipped_rights(&cluster)?;
    let authorities = cluster.folder().join("clients.crt");
    fs::copy(cluster.webhook_client_ca(), &authorities)?;
    let path = authorities.to_str().context("not UTF-8")?;
    let arguments = ["--metrics-authentication", "none", "--client-ca", path];
    let server = WebhookServer::start_with(&cluster, "vdi-metrics", &rights, &arguments).await?;
    server.register(&cluster, |_| {})?;
    let is_injected = |pod: &Value, _: &[String]| pod["metadata"]["annotations"][key::STATUS] == "injected";
    wait_until(&cluster, "the API server calls the webhook with its certificate", is_injected).await?;

    // The API server keeps its connection, on which it has shown its certificate. So only new connections are rejected.
    fs::write(&authorities, ClientAuthority::create()?.pem())?;
    let second = WebhookServer::start_with(&cluster, "vdi-metrics-second", &rights, &arguments).await?;
    second.register(&cluster, |_| {})?;
    let is_missed = |pod: &Value, _: &[String]| pod["metadata"]["annotations"][key::STATUS].is_null();
    wait_until(&cluster, "the API server calls the other server", is_missed).await?;
    let (pod, _) = dry_run(&cluster, OPTED_IN, &minimal_pod("missed")).await?;
    ensure!(pod["kind"] == "Pod" && pod["spec"]["initContainers"].is_null(), "{pod:#}");
    let failed = [("listener", "webhook"), ("reason", "handshake_failed")];
    let failed = second.value("vdi_metrics_https_connections_closed_total", &failed)?;
    ensure!(failed >= 1.0, "{failed} failed handshakes");

    // With its authority in the file, the API server is trusted again, without a restart.
    fs::copy(cluster.webhook_client_ca(), &authorities)?;
    wait_until(&cluster, "the API server is trusted again", is_injected).await
}
