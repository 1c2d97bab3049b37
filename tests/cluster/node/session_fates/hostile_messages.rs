//! Tenants that write the worst messages into the termination log of a container with the sidecar's name. Their namespace is not opted
//! in, so the webhook is not called, and they set the label of session pods themselves.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::{TestCluster, eventually};
use kube::api::ListParams;
use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, env, key};

use super::counters::values;
use crate::support::{
    common::{RESTRICTED, TWO_MINUTES},
    desktops::desktop,
    installation::installed,
    node_pods::{create, pods},
};

tests![no_message_of_a_tenant_moves_a_counter_beyond_its_bound];

/// A message, and the reason for which it is refused; `None` if a session can have used what the message says.
struct Message {
    name: &'static str,
    text: String,
    refused: Option<&'static str>,
}

/// Pods with the same message.
const TENANTS: usize = 2;

/// Seconds for which a desktop runs.
const SECONDS: &str = "3";

/// A bound in seconds on the time of one pod. The node starts and stops 32 pods at the same time.
const MAX_SECONDS: f64 = 180.0;

/// The devices that a pod can have held if its status shows none (`NODE_DEVICES` in `sessions::ledger`).
const MAX_DEVICES: f64 = 16.0;

/// Bounds of the totals of one pod (`sessions::usage`), by metric.
const BOUNDS: [(&str, f64); 8] = [
    ("vdi_sessions_gpu_allocated_seconds_total", MAX_SECONDS * MAX_DEVICES),
    ("vdi_sessions_gpu_busy_seconds_total", MAX_SECONDS * MAX_DEVICES),
    ("vdi_sessions_gpu_unsampled_seconds_total", MAX_SECONDS * MAX_DEVICES),
    ("vdi_sessions_gpu_idle_allocated_seconds_total", MAX_SECONDS * MAX_DEVICES * 2.0),
    ("vdi_sessions_gpu_energy_joules_total", MAX_SECONDS * MAX_DEVICES * 2000.0),
    ("vdi_sessions_connected_seconds_total", MAX_SECONDS),
    ("vdi_sessions_stream_transmit_bytes_total", MAX_SECONDS * 1e11),
    ("vdi_sessions_stream_receive_bytes_total", MAX_SECONDS * 1e11),
];

async fn no_message_of_a_tenant_moves_a_counter_beyond_its_bound(cluster: &TestCluster) -> Result<()> {
    let _server = installed(cluster).await?;
    let namespace = cluster.scratch_namespace(&[RESTRICTED]).await?;
    let messages = messages();
    ensure!(messages.len() * TENANTS == 32, "{} pods", messages.len() * TENANTS);
    let pods = messages.iter().flat_map(|message| (0..TENANTS).map(|number| pod(message, number)));
    try_join_all(pods.map(|pod| create(cluster, &namespace, pod))).await?;
    have_ended(cluster, &namespace, messages.len() * TENANTS).await?;

    let completed: BTreeMap<_, _> =
        messages.iter().map(|message| (format!("{} completed", template(message)), TENANTS as f64)).collect();
    shows(cluster, "vdi_session_ended_total", &["template", "reason"], &completed).await?;
    let refused = messages
        .iter()
        .filter_map(|message| Some((format!("{} {}", template(message), message.refused?), TENANTS as f64)));
    shows(cluster, "vdi_session_last_words_missing_total", &["template", "reason"], &refused.collect())
        .await?;
    for (metric, bound) in BOUNDS {
        let shown = values(cluster, &format!("{metric}{{{TEMPLATES}}}"), &["template"]).await?;
        for message in &messages {
            let value = shown.get(&template(message)).copied().unwrap_or(0.0);
            let bound = if message.refused.is_some() { 0.0 } else { bound * TENANTS as f64 };
            ensure!(
                (0.0..=bound).contains(&value),
                "{metric} of {}: {value}, expected at most {bound}",
                message.name
            );
        }
    }
    Ok(())
}

/// The series of the tenants' templates.
const TEMPLATES: &str = "template=~\"hostile-.+\"";

fn messages() -> Vec<Message> {
    let refused = |name, reason, text: String| Message { name, text, refused: Some(reason) };
    let device = |name: &str, changes: Value| {
        let mut device = json!({"gpu": name, "scope": "session", "allocated": 1});
        for (field, value) in changes.as_object().into_iter().flatten() {
            device[field] = value.clone();
        }
        device
    };
    let with = |devices: Vec<Value>| message(&json!({"gpus": devices}));
    let one = |changes: Value| with(vec![device("GPU-1", changes)]);
    let many =
        |count: usize| with((0..count).map(|number| device(&format!("GPU-{number}"), json!({}))).collect());
    let complete = one(json!({}));
    // A kubelet keeps the last 4,096 bytes of a longer message.
    let spaces = |text: &str, bytes: usize| format!("{text:<bytes$}");
    vec![
        refused("huge", "impossible", one(json!({"allocated": u64::MAX, "joules": u64::MAX}))),
        refused("busy", "impossible", one(json!({"busy": 1e300}))),
        refused("negative-busy", "impossible", one(json!({"busy": -5.0}))),
        refused("peak", "impossible", one(json!({"peak": u64::MAX}))),
        refused("idle", "impossible", one(json!({"idle": [u64::MAX, u64::MAX]}))),
        refused(
            "viewers",
            "impossible",
            message(&json!({"presence": {"connected": u64::MAX, "transmitted": u64::MAX}})),
        ),
        refused("doubled", "impossible", with(vec![device("GPU-1", json!({})), device("GPU-1", json!({}))])),
        refused("more", "impossible", message(&json!({"more": u64::MAX}))),
        refused("thousand", "malformed", many(1000)),
        refused("negative", "malformed", one(json!({"allocated": -1}))),
        refused("nan", "malformed", complete.replace("\"allocated\":1", "\"allocated\":NaN")),
        refused("infinite", "malformed", complete.replace("\"allocated\":1", "\"allocated\":1e999")),
        refused("truncated", "malformed", complete[..complete.len() / 2].to_owned()),
        refused("unicode", "malformed", "\u{202e}\u{1f4a5}\u{feff}{\"v\":2}\u{0301}".repeat(40)),
        refused("version", "version", complete.replace("\"v\":2", "\"v\":9")),
        Message { name: "lie", text: spaces(&many(16), 4000), refused: None },
    ]
}

/// A valid message with these fields.
fn message(changes: &Value) -> String {
    let mut message = json!({"v": 2, "session": 1, "start": 1, "end": 2, "ended": true, "by": ["claim", "high"], "gpus": []});
    for (field, value) in changes.as_object().into_iter().flatten() {
        message[field] = value.clone();
    }
    message.to_string()
}

fn template(message: &Message) -> String {
    format!("hostile-{}", message.name)
}

fn pod(message: &Message, number: usize) -> Value {
    let mut pod = desktop(&["exit", "0", SECONDS]);
    pod["metadata"]["name"] = json!(format!("{}-{number}", message.name));
    pod["metadata"]["labels"][key::INJECTED] = json!("true");
    let mut sidecar = pod["spec"]["containers"][0].clone();
    (sidecar["name"], sidecar["args"]) = (json!(CONTAINER), json!(["say", message.text]));
    sidecar["restartPolicy"] = json!("Always");
    sidecar["env"] = json!([{"name": env::TEMPLATE, "value": template(message)}]);
    pod["spec"]["initContainers"] = json!([sidecar]);
    pod
}

async fn have_ended(cluster: &TestCluster, namespace: &str, count: usize) -> Result<()> {
    let has_ended =
        |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Succeeded"));
    eventually(format!("{count} pods have ended"), 2 * TWO_MINUTES, || async {
        let pods = pods(cluster, namespace).list(&ListParams::default()).await?.items;
        let ended = pods.iter().filter(|pod| has_ended(pod)).count();
        ensure!(ended == count, "{ended} of {}", pods.len());
        Ok(())
    })
    .await
}

/// Waits until the counter has exactly these values.
async fn shows(
    cluster: &TestCluster,
    metric: &str,
    labels: &[&str],
    expected: &BTreeMap<String, f64>,
) -> Result<()> {
    let query = format!("{metric}{{{TEMPLATES}}}");
    eventually(format!("{metric} has the values of the tenants"), TWO_MINUTES, || async {
        let shown = values(cluster, &query, labels).await?;
        ensure!(shown == *expected, "{shown:?}, expected {expected:?}");
        Ok(())
    })
    .await
}
