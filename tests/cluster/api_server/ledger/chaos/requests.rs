//! Requests that are repeated until the API server answers them, so that an outage of the API server changes no session.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use vdi_metrics::contract::key;

use super::states::{NODE, timestamp};
use crate::support::own_control_plane::OPTED_IN;

/// A client of the API server.
#[derive(Clone)]
pub(super) struct Requests(pub(super) Client);

/// Maximum duration of an outage.
const OUTAGE: Duration = Duration::from_secs(120);

// === impl Requests ===

impl Requests {
    pub(super) async fn create(&self, pod: &Value) -> Result<()> {
        let path = format!("/api/v1/namespaces/{OPTED_IN}/pods");
        self.send("POST", &path, "application/json", pod).await.map(drop)
    }

    pub(super) async fn status(&self, name: &str, patch: &Value) -> Result<()> {
        let path = format!("{}/status", path(name));
        self.send("PATCH", &path, "application/merge-patch+json", patch).await.map(drop)
    }

    /// Deletes a pod and returns its last state. It is null if the first response was lost and the pod is gone.
    pub(super) async fn delete(&self, name: &str, grace: u32) -> Result<Value> {
        let options = json!({"gracePeriodSeconds": grace});
        self.send("DELETE", &path(name), "application/json", &options).await
    }

    /// Evicts a pod and returns it.
    pub(super) async fn evict(&self, name: &str) -> Result<Value> {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": OPTED_IN}});
        self.send("POST", &format!("{}/eviction", path(name)), "application/json", &eviction).await?;
        self.send("GET", &path(name), "application/json", &Value::Null).await
    }

    /// Sets or removes the label that the watch selects.
    pub(super) async fn label(&self, name: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({"metadata": {"labels": {key::INJECTED: value}}});
        self.send("PATCH", &path(name), "application/merge-patch+json", &patch).await.map(drop)
    }

    /// Renews the node's Lease and status, so that the node controller keeps the pods.
    pub(super) async fn keep_node_ready(&self) -> Result<()> {
        let now = k8s_openapi::jiff::Timestamp::now();
        let (seconds, micros) = (timestamp(now.as_second()), format!("{now:.6}"));
        let condition = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": seconds});
        let status = json!({"status": {"conditions": [condition]}});
        let node = format!("/api/v1/nodes/{NODE}/status");
        self.send("PATCH", &node, "application/merge-patch+json", &status).await?;
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        let spec = json!({"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": micros});
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NODE}, "spec": spec});
        let path = format!("{leases}/{NODE}?fieldManager=chaos&force=true");
        self.send("PATCH", &path, "application/apply-patch+yaml", &lease).await.map(drop)
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: &Value) -> Result<Value> {
        let began = Instant::now();
        loop {
            let request = Request::builder().method(method).uri(path).header("content-type", kind);
            let body = if body.is_null() { vec![] } else { serde_json::to_vec(body)? };
            let sent = timeout(Duration::from_secs(5), self.0.request::<Value>(request.body(body)?)).await;
            let error = match sent {
                Ok(Ok(object)) => return Ok(object),
                Ok(Err(kube::Error::Api(status))) => match (method, status.code) {
                    // An earlier attempt was successful, and its response was lost.
                    ("POST", 409) | ("DELETE", 404) => return Ok(Value::Null),
                    (_, 409 | 429 | 500..) => status.to_string(),
                    _ => bail!("{method} {path}: {status}"),
                },
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if began.elapsed() > OUTAGE {
                return Err(anyhow::Error::msg(error)).with_context(|| format!("{method} {path}"));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/{OPTED_IN}/pods/{name}")
}
