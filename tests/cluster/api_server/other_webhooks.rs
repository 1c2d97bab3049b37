//! Webhooks of other products: some break the sidecar, some change it on purpose. The API server calls each of them once before
//! and once after the product's webhook.

use std::net::TcpListener;

use anyhow::{Result, ensure};
use axum::{
    Router, body::Bytes, extract::Path, http::header::CONTENT_TYPE, response::IntoResponse, routing::post,
};
use axum_server::tls_rustls::RustlsConfig;
use base64::{Engine, prelude::BASE64_STANDARD};
use kit::cluster::{TestCluster, eventually};
use kit::tls::Certificate;
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, PORT, key};
use vdi_metrics::registration::{CertificateFiles, ServingCertificate};

use crate::support::common::{MINUTE, RESTRICTED};
use crate::support::desktops::{desktop, sidecar_in_json};
use crate::support::out_of_cluster_server::{WebhookServer, client_config, dry_run, registered};

tests![unsafe_changes_by_other_webhooks_are_repaired_and_other_changes_are_kept];

/// The change that another webhook makes to a pod with the sidecar: JSON Patch operations, from the pod and the sidecar's path.
type Change = fn(&Value, &str) -> Vec<Value>;

/// Every change with its name. A namespace selects a change with a label of that value.
const CHANGES: [(&str, Change); 12] = [
    // Clients that are built with the types of Kubernetes before 1.28 drop this field of every pod.
    ("drops-restart-policies", |_, sidecar_path| vec![remove(sidecar_path, "restartPolicy")]),
    ("strips-security-contexts", |_, sidecar_path| vec![remove(sidecar_path, "securityContext")]),
    ("makes-it-root", |_, sidecar_path| {
        vec![set(sidecar_path, "securityContext", json!({"privileged": true, "runAsUser": 0}))]
    }),
    ("adds-capabilities", |_, sidecar_path| {
        vec![set(sidecar_path, "securityContext/capabilities/add", json!(["SYS_ADMIN"]))]
    }),
    ("strips-resources", |_, sidecar_path| vec![remove(sidecar_path, "resources")]),
    ("strips-ports", |_, sidecar_path| vec![remove(sidecar_path, "ports")]),
    ("strips-mounts", |_, sidecar_path| vec![remove(sidecar_path, "volumeMounts")]),
    ("removes-volumes", |pod, _| {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let volume = volumes.enumerate().find(|(_, volume)| volume["name"] == CONTAINER);
        volume.map(|(index, _)| remove("/spec/volumes", &index.to_string())).into_iter().collect()
    }),
    ("removes-labels", |_, _| vec![remove("/metadata/labels", &key::INJECTED.replace('/', "~1"))]),
    ("removes-several-fields", |_, sidecar_path| {
        let fields = ["restartPolicy", "securityContext", "resources"];
        fields.map(|field| remove(sidecar_path, field)).into()
    }),
    ("sets-image-and-resources", |pod, sidecar_path| {
        let image = sidecar_in_json(pod).map(|sidecar| sidecar["image"].as_str().unwrap_or_default());
        let amounts = json!({"cpu": "200m", "memory": "64Mi"});
        vec![
            set(sidecar_path, "image", json!(format!("{MIRROR}{}", image.unwrap_or_default()))),
            set(sidecar_path, "resources", json!({"requests": amounts, "limits": amounts})),
            set(sidecar_path, "env/-", json!({"name": "HTTP_PROXY", "value": "http://proxy"})),
        ]
    }),
    // This webhook adds its container whether or not the pod has the sidecar: see `operations`.
    ("has-a-sidecar", |_, _| vec![]),
];

const MIRROR: &str = "mirror.example.com/";

/// Names of configurations before and after the product's: the API server calls webhooks in alphabetical order. The first
/// requests reinvocation, because otherwise it never sees the sidecar. The second does not: a webhook that is called after the
/// product's and requests reinvocation makes the final change, and nothing repairs that.
const BEFORE: &str = "a-others";
const AFTER: &str = "z-others";

/// A change, the parts that are repaired when the other webhook is called before and when it is called after the product's, and a
/// check of the resulting pod.
type Row = (&'static str, [&'static [&'static str]; 2], fn(&Value) -> bool);

const ROWS: [Row; 12] = [
    ("drops-restart-policies", [&["restart_policy"]; 2], is_intact),
    ("strips-security-contexts", [&["security_context"]; 2], is_intact),
    ("makes-it-root", [&["security_context"]; 2], is_intact),
    ("adds-capabilities", [&["security_context"]; 2], is_intact),
    ("strips-resources", [&["resources"]; 2], is_intact),
    ("strips-ports", [&["port"]; 2], is_intact),
    ("strips-mounts", [&["mount"]; 2], |pod| is_intact(pod) && has_no_token(pod)),
    ("removes-volumes", [&["volume"]; 2], |pod| is_intact(pod) && has_no_token(pod)),
    ("removes-labels", [&["label"]; 2], is_intact),
    ("removes-several-fields", [&["restart_policy", "security_context", "resources"]; 2], is_intact),
    ("sets-image-and-resources", [&[]; 2], has_their_settings),
    ("has-a-sidecar", [&[], &["port"]], |pod| is_intact(pod) && sidecar_has_another_port(pod)),
];

async fn unsafe_changes_by_other_webhooks_are_repaired_and_other_changes_are_kept(
    cluster: &TestCluster,
) -> Result<()> {
    let server = registered(cluster).await?;
    register_other_webhooks(cluster).await?;
    for (change, parts, is_right) in ROWS {
        for (order, parts) in [BEFORE, AFTER].into_iter().zip(parts) {
            let labels = [(key::INJECT, key::ENABLED), RESTRICTED, (order, change)];
            let namespace = cluster.scratch_namespace(&labels).await?;
            eventually(format!("{parts:?} are repaired after {change} by {order}"), MINUTE, || async {
                let before = repairs(&server)?;
                let answer = dry_run(cluster, &namespace, &desktop(&["sleep"])).await?;
                let after = repairs(&server)?;
                let repaired: Vec<_> = PARTS.into_iter().zip(after.iter().zip(before)).collect();
                let repaired: Vec<_> =
                    repaired.iter().filter(|(_, (a, b))| *a - b > 0.0).map(|(part, _)| *part).collect();
                ensure!(
                    answer.accepted && repaired == parts && is_right(&answer.object),
                    "{repaired:?}: {answer}"
                );
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

/// The parts of the metric, in the order of the rows above.
const PARTS: [&str; 7] =
    ["restart_policy", "security_context", "resources", "port", "mount", "volume", "label"];

fn repairs(server: &WebhookServer) -> Result<Vec<f64>> {
    let value = |part| server.value("vdi_metrics_admission_repairs_total", &[("part", part)]);
    PARTS.into_iter().map(value).collect()
}

fn is_intact(pod: &Value) -> bool {
    let Some(sidecar) = sidecar_in_json(pod) else { return false };
    let security = &sidecar["securityContext"];
    sidecar["restartPolicy"] == "Always"
        && security["runAsNonRoot"] == true
        && security["runAsUser"] == 65532
        && security["runAsGroup"] == 65532
        && security["allowPrivilegeEscalation"] == false
        && security["privileged"] == false
        && security["readOnlyRootFilesystem"] == true
        && security["capabilities"] == json!({"drop": ["ALL", "NET_RAW"]})
        && sidecar["ports"].as_array().is_some_and(|ports| ports.len() == 1)
        && sidecar["resources"]["limits"]["memory"] == "24Mi"
        && pod["metadata"]["labels"][key::INJECTED] == "true"
}

fn has_no_token(pod: &Value) -> bool {
    let mounts = sidecar_in_json(pod).and_then(|sidecar| sidecar["volumeMounts"].as_array());
    mounts.is_some_and(|mounts| mounts.iter().all(|mount| mount["name"] == CONTAINER))
}

fn has_their_settings(pod: &Value) -> bool {
    let Some(sidecar) = sidecar_in_json(pod) else { return false };
    sidecar["image"].as_str().is_some_and(|image| image.starts_with(MIRROR))
        && sidecar["resources"]["limits"] == json!({"cpu": "200m", "memory": "64Mi"})
        && sidecar["env"]
            .as_array()
            .is_some_and(|env| env.iter().any(|variable| variable["name"] == "HTTP_PROXY"))
}

fn sidecar_has_another_port(pod: &Value) -> bool {
    let other_port = &pod["spec"]["containers"][1]["ports"][0]["containerPort"];
    let sidecar = sidecar_in_json(pod)
        .map(|sidecar| (&sidecar["ports"][0]["containerPort"], &sidecar["env"][0]["value"]));
    *other_port == PORT && sidecar == Some((&json!(PORT + 1), &json!(format!("[::]:{}", PORT + 1))))
}

/// Starts a server of all changes and registers it before and after the product's. It ends with the cluster's runtime.
async fn register_other_webhooks(cluster: &TestCluster) -> Result<()> {
    let certificate = Certificate::in_folder(cluster.folder())?;
    let files =
        CertificateFiles { certificate: certificate.cert(), key: Some(certificate.key()), authority: None };
    let tls = RustlsConfig::from_config(ServingCertificate::of(&files.read()?).server_config()?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/{change}", post(review));
    tokio::spawn(axum_server::from_tcp_rustls(listener, tls)?.serve(router.into_make_service()));
    for (name, reinvocation) in [(BEFORE, "IfNeeded"), (AFTER, "Never")] {
        let entries = CHANGES.iter().map(|(change, _)| {
            Ok(json!({
                "name": format!("{change}.others.example.com"),
                "namespaceSelector": {"matchLabels": {(name): change}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
                "clientConfig": client_config(address, &format!("/{change}"), &certificate)?,
                "reinvocationPolicy": reinvocation,
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }))
        });
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name}, "webhooks": entries.collect::<Result<Vec<_>>>()?,
        });
        cluster.kubectl.apply(&configuration.to_string())?;
    }
    Ok(())
}

async fn review(Path(change): Path<String>, body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    let operations = operations(&change, &review["request"]["object"]);
    if !operations.is_empty() {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(BASE64_STANDARD.encode(json!(operations).to_string()));
    }
    let answer =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    ([(CONTENT_TYPE, "application/json")], answer.to_string())
}

fn operations(change: &str, pod: &Value) -> Vec<Value> {
    let containers = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    if change == "has-a-sidecar" && containers == 1 {
        let security = &pod["spec"]["containers"][0]["securityContext"];
        let ports = json!([{"containerPort": PORT}]);
        let exporter = json!({"name": "exporter", "image": "x", "ports": ports, "securityContext": security});
        return vec![set("/spec/containers", "-", exporter)];
    }
    let init = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    let Some(index) = init.into_iter().position(|container| container["name"] == CONTAINER) else {
        return vec![];
    };
    let known = CHANGES.iter().find(|(name, _)| *name == change);
    known.map_or_else(Vec::new, |(_, operations)| operations(pod, &format!("/spec/initContainers/{index}")))
}

fn remove(path: &str, field: &str) -> Value {
    json!({"op": "remove", "path": format!("{path}/{field}")})
}

#[expect(clippy::needless_pass_by_value, reason = "an inline json! is easier to read than a borrow of it")]
fn set(path: &str, field: &str, value: Value) -> Value {
    json!({"op": "add", "path": format!("{path}/{field}"), "value": value})
}
