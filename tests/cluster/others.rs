//! Other people's webhooks: some break our container, some mean well, and all of them may come before or after us.

use std::net::TcpListener;

use anyhow::{Result, ensure};
use axum::{
    Router, body::Bytes, extract::Path, http::header::CONTENT_TYPE, response::IntoResponse, routing::post,
};
use axum_server::tls_rustls::RustlsConfig;
use base64::{Engine, prelude::BASE64_STANDARD};
use kit::cluster::{Bed, eventually};
use kit::tls::Certificate;
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, PORT, key};
use vdi_metrics::registration::certificate;

use crate::asked::sidecar;
use crate::beside::{Webhook, client_config, dry_run, registered};
use crate::product::{MINUTE, desktop};

tests![what_others_break_is_put_back_and_what_they_mean_is_kept];

/// What a webhook does to a pod that has our container: JSON Patch operations, from the pod and the path of ours.
type Habit = fn(&Value, &str) -> Vec<Value>;

/// By the name that a namespace chooses it by.
const HABITS: [(&str, Habit); 12] = [
    // Clients built on types of before 1.28 do this to all that passes through them.
    ("drops-restart-policies", |_, ours| vec![remove(ours, "restartPolicy")]),
    ("strips-security-contexts", |_, ours| vec![remove(ours, "securityContext")]),
    ("makes-it-root", |_, ours| {
        vec![set(ours, "securityContext", json!({"privileged": true, "runAsUser": 0}))]
    }),
    ("adds-capabilities", |_, ours| {
        vec![set(ours, "securityContext/capabilities/add", json!(["SYS_ADMIN"]))]
    }),
    ("strips-resources", |_, ours| vec![remove(ours, "resources")]),
    ("strips-ports", |_, ours| vec![remove(ours, "ports")]),
    ("strips-mounts", |_, ours| vec![remove(ours, "volumeMounts")]),
    ("removes-volumes", |pod, _| {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let ours = volumes.enumerate().find(|(_, volume)| volume["name"] == CONTAINER);
        ours.map(|(index, _)| remove("/spec/volumes", &index.to_string())).into_iter().collect()
    }),
    ("removes-labels", |_, _| vec![remove("/metadata/labels", &key::INJECTED.replace('/', "~1"))]),
    ("does-all-of-it", |_, ours| {
        let fields = ["restartPolicy", "securityContext", "resources"];
        fields.map(|field| remove(ours, field)).into()
    }),
    ("means-well", |pod, ours| {
        let image = sidecar(pod).map(|ours| ours["image"].as_str().unwrap_or_default());
        let more = json!({"cpu": "200m", "memory": "64Mi"});
        vec![
            set(ours, "image", json!(format!("{MIRROR}{}", image.unwrap_or_default()))),
            set(ours, "resources", json!({"requests": more, "limits": more})),
            set(ours, "env/-", json!({"name": "HTTP_PROXY", "value": "http://proxy"})),
        ]
    }),
    // This one does not wait for us.
    ("has-a-sidecar", |_, _| vec![]),
];

const MIRROR: &str = "mirror.example.com/";

/// Names before and after ours. The first asks to be called again, or it would never see our container. One that comes after
/// us and asks for that has the last word, whatever it says.
const BEFORE: &str = "a-others";
const AFTER: &str = "z-others";

/// A habit; what is put back because of it, where it comes before us and after; what the pod has to be like then.
type Row = (&'static str, [&'static [&'static str]; 2], fn(&Value) -> bool);

const ROWS: [Row; 12] = [
    ("drops-restart-policies", [&["restart_policy"]; 2], is_whole),
    ("strips-security-contexts", [&["security_context"]; 2], is_whole),
    ("makes-it-root", [&["security_context"]; 2], is_whole),
    ("adds-capabilities", [&["security_context"]; 2], is_whole),
    ("strips-resources", [&["resources"]; 2], is_whole),
    ("strips-ports", [&["port"]; 2], is_whole),
    ("strips-mounts", [&["mount"]; 2], |pod| is_whole(pod) && has_no_token(pod)),
    ("removes-volumes", [&["volume"]; 2], |pod| is_whole(pod) && has_no_token(pod)),
    ("removes-labels", [&["label"]; 2], is_whole),
    ("does-all-of-it", [&["restart_policy", "security_context", "resources"]; 2], is_whole),
    ("means-well", [&[]; 2], is_as_they_mean),
    ("has-a-sidecar", [&[], &["port"]], |pod| is_whole(pod) && has_a_port_of_its_own(pod)),
];

async fn what_others_break_is_put_back_and_what_they_mean_is_kept(bed: &Bed) -> Result<()> {
    let webhook = registered(bed).await?;
    register_others(bed).await?;
    for (habit, parts, is_right) in ROWS {
        for (order, parts) in [BEFORE, AFTER].into_iter().zip(parts) {
            let labels = [(key::INJECT, key::ENABLED), RESTRICTED, (order, habit)];
            let namespace = bed.scratch_namespace(&labels).await?;
            eventually(
                format!("{parts:?} are put back of what {habit} breaks in {order}"),
                MINUTE,
                || async {
                    let before = counted(&webhook)?;
                    let answer = dry_run(bed, &namespace, &desktop(&["sleep"])).await?;
                    let after = counted(&webhook)?;
                    let repaired: Vec<_> = PARTS.into_iter().zip(after.iter().zip(before)).collect();
                    let repaired: Vec<_> =
                        repaired.iter().filter(|(_, (a, b))| *a - b > 0.0).map(|(part, _)| *part).collect();
                    ensure!(
                        answer.accepted && repaired == parts && is_right(&answer.object),
                        "{repaired:?}: {answer}"
                    );
                    Ok(())
                },
            )
            .await?;
        }
    }
    Ok(())
}

const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

/// In the order of the rows above.
const PARTS: [&str; 7] =
    ["restart_policy", "security_context", "resources", "port", "mount", "volume", "label"];

fn counted(webhook: &Webhook) -> Result<Vec<f64>> {
    let value = |part| webhook.value("vdi_metrics_admission_repairs_total", &[("part", part)]);
    PARTS.into_iter().map(value).collect()
}

fn is_whole(pod: &Value) -> bool {
    let Some(ours) = sidecar(pod) else { return false };
    let security = &ours["securityContext"];
    ours["restartPolicy"] == "Always"
        && security["runAsNonRoot"] == true
        && security["runAsUser"] == 65532
        && security["allowPrivilegeEscalation"] == false
        && security["privileged"] == false
        && security["readOnlyRootFilesystem"] == true
        && security["capabilities"] == json!({"drop": ["ALL"]})
        && ours["ports"].as_array().is_some_and(|ports| ports.len() == 1)
        && ours["resources"]["limits"]["memory"] == "24Mi"
        && pod["metadata"]["labels"][key::INJECTED] == "true"
}

fn has_no_token(pod: &Value) -> bool {
    let mounts = sidecar(pod).and_then(|ours| ours["volumeMounts"].as_array());
    mounts.is_some_and(|mounts| mounts.iter().all(|mount| mount["name"] == CONTAINER))
}

fn is_as_they_mean(pod: &Value) -> bool {
    let Some(ours) = sidecar(pod) else { return false };
    ours["image"].as_str().is_some_and(|image| image.starts_with(MIRROR))
        && ours["resources"]["limits"] == json!({"cpu": "200m", "memory": "64Mi"})
        && ours["env"].as_array().is_some_and(|env| env.iter().any(|each| each["name"] == "HTTP_PROXY"))
}

fn has_a_port_of_its_own(pod: &Value) -> bool {
    let theirs = &pod["spec"]["containers"][1]["ports"][0]["containerPort"];
    let ours = sidecar(pod).map(|ours| (&ours["ports"][0]["containerPort"], &ours["env"][0]["value"]));
    *theirs == PORT && ours == Some((&json!(PORT + 1), &json!(format!("[::]:{}", PORT + 1))))
}

/// Starts a server of all habits and registers it before and after us. It ends with the cluster's runtime.
async fn register_others(bed: &Bed) -> Result<()> {
    let certificate = Certificate::in_folder(bed.folder())?;
    let tls = RustlsConfig::from_config(certificate::load(&certificate.cert(), &certificate.key())?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/{habit}", post(answered));
    tokio::spawn(axum_server::from_tcp_rustls(listener, tls)?.serve(router.into_make_service()));
    for (name, again) in [(BEFORE, "IfNeeded"), (AFTER, "Never")] {
        let entries = HABITS.iter().map(|(habit, _)| {
            Ok(json!({
                "name": format!("{habit}.others.example.com"),
                "namespaceSelector": {"matchLabels": {(name): habit}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
                "clientConfig": client_config(address, &format!("/{habit}"), &certificate)?,
                "reinvocationPolicy": again,
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }))
        });
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name}, "webhooks": entries.collect::<Result<Vec<_>>>()?,
        });
        bed.kubectl.apply(&configuration.to_string())?;
    }
    Ok(())
}

async fn answered(Path(habit): Path<String>, body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    let operations = operations(&habit, &review["request"]["object"]);
    if !operations.is_empty() {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(BASE64_STANDARD.encode(json!(operations).to_string()));
    }
    let answer =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    ([(CONTENT_TYPE, "application/json")], answer.to_string())
}

fn operations(habit: &str, pod: &Value) -> Vec<Value> {
    let containers = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    if habit == "has-a-sidecar" && containers == 1 {
        let security = &pod["spec"]["containers"][0]["securityContext"];
        let ports = json!([{"containerPort": PORT}]);
        let exporter = json!({"name": "exporter", "image": "x", "ports": ports, "securityContext": security});
        return vec![set("/spec/containers", "-", exporter)];
    }
    let init = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    let Some(index) = init.into_iter().position(|container| container["name"] == CONTAINER) else {
        return vec![];
    };
    let known = HABITS.iter().find(|(name, _)| *name == habit);
    known.map_or_else(Vec::new, |(_, operations)| operations(pod, &format!("/spec/initContainers/{index}")))
}

fn remove(at: &str, field: &str) -> Value {
    json!({"op": "remove", "path": format!("{at}/{field}")})
}

#[expect(clippy::needless_pass_by_value, reason = "json! in place reads better than a borrow of it")]
fn set(at: &str, field: &str, value: Value) -> Value {
    json!({"op": "add", "path": format!("{at}/{field}"), "value": value})
}
