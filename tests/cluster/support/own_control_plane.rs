//! A control plane for one test alone, and dry runs on it: for tests that change the admission of every pod.

use anyhow::{Error, Result, ensure};
use http::Request;
use kit::cluster::{Assets, Cluster, Parts, eventually};
use kube::client::Body;
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use super::common::MINUTE;

/// The namespace that is opted in.
pub(crate) const OPTED_IN: &str = "desktops";
/// The namespace that is not opted in.
pub(crate) const NOT_OPTED_IN: &str = "elsewhere";

/// Starts a control plane with the two namespaces.
pub(crate) async fn control_plane(parts: Parts) -> Result<Cluster> {
    let cluster = Cluster::start(&Assets::find()?.map_err(Error::msg)?, parts).await?;
    for (name, labels) in [(OPTED_IN, json!({key::INJECT: key::ENABLED})), (NOT_OPTED_IN, json!({}))] {
        let metadata = json!({"name": name, "labels": labels});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        cluster.kubectl.apply(&namespace.to_string())?;
        let metadata = json!({"name": "default", "namespace": name});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        cluster.kubectl.apply(&account.to_string())?;
    }
    Ok(cluster)
}

/// Creates a pod in a dry run. Returns the API server's response, which is a pod or a Status, and its warnings.
pub(crate) async fn dry_run(cluster: &Cluster, namespace: &str, pod: &Value) -> Result<(Value, Vec<String>)> {
    let request = Request::post(format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"))
        .header("content-type", "application/json")
        .body(Body::from(serde_json::to_vec(pod)?))?;
    let response = cluster.client.send(request).await?;
    // A warning can quote text that is not ASCII.
    let text = |warning: &http::HeaderValue| String::from_utf8_lossy(warning.as_bytes()).into_owned();
    let warnings = response.headers().get_all("warning").iter().map(text).collect();
    let body = response.into_body().collect_bytes().await?;
    Ok((serde_json::from_slice(&body)?, warnings))
}

/// Waits until `is` holds for the creation of a minimal pod. The API server reads its configuration through watches, so a
/// change is not active at once.
pub(crate) async fn wait_until(
    cluster: &Cluster,
    what: &str,
    is: impl Fn(&Value, &[String]) -> bool,
) -> Result<()> {
    eventually(what, MINUTE, || async {
        let (answer, warnings) = dry_run(cluster, OPTED_IN, &minimal_pod("early")).await?;
        ensure!(is(&answer, &warnings), "{answer:#} {warnings:?}");
        Ok(())
    })
    .await
}

/// A pod with only a desktop container.
pub(crate) fn minimal_pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "desktop", "image": "desktop:1"}]},
    })
}
