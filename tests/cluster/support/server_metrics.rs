//! Requests for the metrics of the installed server. The API server's proxy cannot send them, because it removes the token.

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::Request;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kit::cluster::TestCluster;
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use vdi_metrics::registration::SECRET;

use super::installation::NAMESPACE;

/// The Secret with the token of the shipped scraper.
const SCRAPER: &str = "vdi-metrics-scraper-token";

/// The token of the shipped scraper, which Kubernetes has written.
pub(crate) async fn scraper_token(cluster: &TestCluster) -> Result<String> {
    let token = secret(cluster, SCRAPER, "token").await?;
    Ok(String::from_utf8(token)?)
}

/// The page that the server shows to a client with this token.
///
/// # Errors
/// Fails if the response is not 200; then the error has the status.
pub(crate) async fn page(cluster: &TestCluster, token: Option<&str>) -> Result<String> {
    let address = addresses(cluster).await?.pop().context("no server")?;
    page_of(cluster, &address, token).await
}

/// The pages that all servers show to a client with this token.
///
/// # Errors
/// As [`page`].
pub(crate) async fn pages(cluster: &TestCluster, token: &str) -> Result<Vec<String>> {
    let mut pages = vec![];
    for address in addresses(cluster).await? {
        pages.push(page_of(cluster, &address, Some(token)).await?);
    }
    Ok(pages)
}

async fn page_of(cluster: &TestCluster, address: &str, token: Option<&str>) -> Result<String> {
    let authority = BASE64_STANDARD.encode(secret(cluster, SECRET, "ca.crt").await?);
    let server = json!({"server": format!("https://{address}:8443"),
        "certificate-authority-data": authority, "tls-server-name": "vdi-metrics-webhook.vdi-metrics.svc"});
    let config: Kubeconfig = serde_json::from_value(json!({
        "current-context": "server",
        "clusters": [{"name": "server", "cluster": server}],
        "users": [{"name": "scraper", "user": {"token": token}}],
        "contexts": [{"name": "server", "context": {"cluster": "server", "user": "scraper"}}],
    }))?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?.request_text(Request::get("/metrics").body(vec![])?).await?)
}

/// The addresses of the servers.
async fn addresses(cluster: &TestCluster) -> Result<Vec<String>> {
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), NAMESPACE);
    let server = ListParams::default().labels("app.kubernetes.io/component=server");
    let pods = pods.list(&server).await?.items.into_iter();
    Ok(pods.filter_map(|pod| pod.status?.pod_ip).collect())
}

async fn secret(cluster: &TestCluster, name: &str, key: &str) -> Result<Vec<u8>> {
    let secret = Api::<Secret>::namespaced(cluster.client.clone(), NAMESPACE).get(name).await?;
    let value = secret.data.and_then(|mut data| data.remove(key));
    Ok(value.with_context(|| format!("no {key} in {name}"))?.0)
}
