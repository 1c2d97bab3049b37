//! An ordinary kube-rs webhook, as in kube's own example: it decodes the review and the pod into types and builds the patch by
//! hand.
//!
//! `peer-kube-rs PORT CERT KEY SIDECAR`. With `floor` for SIDECAR it allows every request without decoding it, to measure the
//! cost of HTTP and TLS alone.

use std::{collections::BTreeMap, fs, net::SocketAddr, sync::Arc};

use anyhow::{Context, bail};
use axum::{
    Json, Router, body::Bytes, extract::State, http::header::CONTENT_TYPE, response::IntoResponse,
    routing::post,
};
use axum_server::tls_rustls::RustlsConfig;
use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{error, info, warn};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [port, cert, key, sidecar] = &arguments[..] else { bail!("peer-kube-rs PORT CERT KEY SIDECAR") };
    let router = match sidecar.as_str() {
        "floor" => Router::new().route("/mutate", post(allow)),
        path => {
            let sidecar: Sidecar =
                serde_json::from_slice(&fs::read(path)?).with_context(|| path.to_owned())?;
            Router::new().route("/mutate", post(mutate)).with_state(Arc::new(sidecar))
        }
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = RustlsConfig::from_pem_file(cert, key).await?;
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
    Ok(axum_server::bind_rustls(address, tls).serve(router.into_make_service()).await?)
}

/// The additions to a pod.
#[derive(Deserialize)]
struct Sidecar {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    container: Value,
    volume: Value,
}

async fn mutate(
    State(sidecar): State<Arc<Sidecar>>,
    Json(review): Json<AdmissionReview<Pod>>,
) -> Json<AdmissionReview<DynamicObject>> {
    let request: AdmissionRequest<Pod> = match review.try_into() {
        Ok(request) => request,
        Err(error) => {
            error!("invalid request: {error}");
            return Json(AdmissionResponse::invalid(error.to_string()).into_review());
        }
    };
    let response = AdmissionResponse::from(&request);
    let Some(pod) = &request.object else { return Json(response.into_review()) };
    let response = match response.clone().with_patch(sidecar.patch(pod)) {
        Ok(response) => {
            info!("accepted: {:?} on {}", request.operation, request.name);
            response
        }
        Err(error) => {
            warn!("denied: {:?} on {} ({error})", request.operation, request.name);
            response.deny(error.to_string())
        }
    };
    Json(response.into_review())
}

impl Sidecar {
    fn patch(&self, pod: &Pod) -> Patch {
        let spec = pod.spec.as_ref();
        let has_init_containers = spec.is_some_and(|spec| spec.init_containers.is_some());
        let has_volumes = spec.is_some_and(|spec| spec.volumes.is_some());
        let mut operations = vec![];
        add_to_map(&mut operations, "labels", &self.labels, pod.metadata.labels.is_some());
        add_to_map(&mut operations, "annotations", &self.annotations, pod.metadata.annotations.is_some());
        add_to_list(&mut operations, "initContainers", &self.container, has_init_containers);
        add_to_list(&mut operations, "volumes", &self.volume, has_volumes);
        Patch(operations)
    }
}

fn add_to_map(operations: &mut Vec<PatchOperation>, name: &str, map: &BTreeMap<String, String>, exists: bool) {
    if !exists {
        operations.push(add(&["metadata", name], json!({})));
    }
    operations.extend(map.iter().map(|(key, value)| add(&["metadata", name, key], json!(value))));
}

fn add_to_list(operations: &mut Vec<PatchOperation>, name: &str, item: &Value, exists: bool) {
    if !exists {
        operations.push(add(&["spec", name], json!([])));
    }
    operations.push(add(&["spec", name, "-"], item.clone()));
}

fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

/// Answers with the minimum that the API server accepts: the UID of its request, which is the first `uid` in the body.
async fn allow(body: Bytes) -> impl IntoResponse {
    const BEFORE: &[u8] = b"\"uid\":\"";
    let start = body.windows(BEFORE.len()).position(|window| window == BEFORE).map(|at| at + BEFORE.len());
    let rest = &body[start.unwrap_or(body.len())..];
    let uid = String::from_utf8_lossy(&rest[..rest.iter().position(|byte| *byte == b'"').unwrap_or(0)])
        .into_owned();
    let review = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"{uid}","allowed":true}}}}"#
    );
    ([(CONTENT_TYPE, "application/json")], review)
}
