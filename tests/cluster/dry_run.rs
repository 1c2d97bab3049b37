//! Pods for show, on a control plane of a test's own: for what changes what happens to every pod.

use anyhow::{Error, Result, ensure};
use http::Request;
use kit::cluster::{Assets, Cluster, Parts, eventually};
use kube::client::Body;
use serde_json::{Value, json};
use vdi_metrics::contract::key;

use crate::product::MINUTE;

/// A namespace that is opted in.
pub(crate) const OPTED_IN: &str = "desktops";
/// A namespace that is not.
pub(crate) const ELSEWHERE: &str = "elsewhere";

/// A control plane with the two namespaces.
pub(crate) async fn control_plane(parts: Parts) -> Result<Cluster> {
    let cluster = Cluster::start(&Assets::find()?.map_err(Error::msg)?, parts).await?;
    for (name, labels) in [(OPTED_IN, json!({key::INJECT: key::ENABLED})), (ELSEWHERE, json!({}))] {
        let metadata = json!({"name": name, "labels": labels});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        cluster.kubectl.apply(&namespace.to_string())?;
        let metadata = json!({"name": "default", "namespace": name});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        cluster.kubectl.apply(&account.to_string())?;
    }
    Ok(cluster)
}

/// Creates a pod without storing it: the API server's answer, a pod or a status, and its warnings.
pub(crate) async fn create(cluster: &Cluster, namespace: &str, pod: &Value) -> Result<(Value, Vec<String>)> {
    let request = Request::post(format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"))
        .header("content-type", "application/json")
        .body(Body::from(serde_json::to_vec(pod)?))?;
    let response = cluster.client.send(request).await?;
    // What is quoted in a warning need not be ASCII.
    let text = |warning: &http::HeaderValue| String::from_utf8_lossy(warning.as_bytes()).into_owned();
    let warnings = response.headers().get_all("warning").iter().map(text).collect();
    let body = response.into_body().collect_bytes().await?;
    Ok((serde_json::from_slice(&body)?, warnings))
}

/// Waits until the creation of a bare pod is as it should be: the API server learns of its configuration on watches.
pub(crate) async fn in_force(
    cluster: &Cluster,
    what: &str,
    is: impl Fn(&Value, &[String]) -> bool,
) -> Result<()> {
    eventually(what, MINUTE, || async {
        let (answer, warnings) = create(cluster, OPTED_IN, &bare("early")).await?;
        ensure!(is(&answer, &warnings), "{answer:#} {warnings:?}");
        Ok(())
    })
    .await
}

/// A pod with nothing but a desktop.
pub(crate) fn bare(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "desktop", "image": "desktop:1"}]},
    })
}
