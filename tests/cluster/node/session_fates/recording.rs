//! The recording of a run: the events with the fields that the ledger reads, and how each session ended.
//! `sessions::tests::recorded` replays it without a cluster.

use std::{env, fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kit::cluster::TestCluster;
use kube::{Api, api::ListParams};
use serde_json::{Map, Value, json};
use vdi_metrics::contract::env as env_names;

use super::events::PodEvent;

/// The variable that names the file.
const FILE: &str = "SESSION_FATES_RECORDING";

/// Fields that are recorded; a field stands for everything below it. No field has a name or an address of a machine.
const FIELDS: [&str; 36] = [
    "metadata.name",
    "metadata.uid",
    "metadata.resourceVersion",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "metadata.deletionGracePeriodSeconds",
    "metadata.finalizers",
    "metadata.labels.vdi-metrics.io/template",
    "metadata.labels.vdi-metrics.io/pool",
    "metadata.annotations.vdi-metrics.io/config",
    "metadata.annotations.vdi-metrics.io/gpu-sharing",
    "spec.restartPolicy",
    "spec.resourceClaims",
    "spec.initContainers.name",
    "spec.initContainers.restartPolicy",
    "spec.initContainers.env.name",
    "spec.initContainers.env.value",
    "spec.initContainers.env.valueFrom.fieldRef.fieldPath",
    "spec.containers.name",
    "status.phase",
    "status.reason",
    "status.startTime",
    "status.resourceClaimStatuses",
    "status.conditions.type",
    "status.conditions.status",
    "status.conditions.reason",
    "status.conditions.lastTransitionTime",
    "status.initContainerStatuses.name",
    "status.initContainerStatuses.restartCount",
    "status.initContainerStatuses.state",
    "status.initContainerStatuses.lastState",
    "status.containerStatuses.name",
    "status.containerStatuses.restartCount",
    "status.containerStatuses.state",
    "status.containerStatuses.lastState",
    "status.containerStatuses.allocatedResourcesStatus",
];

/// Variables of the sidecar that are recorded.
const VARIABLES: [&str; 4] =
    [env_names::TEMPLATE, env_names::POOL, env_names::GPU_REQUEST, env_names::NODE_TOTALS];

/// Writes the recording if the variable names a file. `endings` has an entry for each session.
pub(super) async fn write(cluster: &TestCluster, events: &[PodEvent], endings: &[Value]) -> Result<()> {
    let Some(path) = env::var_os(FILE).map(PathBuf::from) else { return Ok(()) };
    let nodes = Api::<Node>::all(cluster.client.clone()).list(&ListParams::default()).await?;
    let info = nodes.items.into_iter().find_map(|node| node.status?.node_info).context("no node")?;
    let mut text = format!(
        "{}\n",
        json!({"kind": "Pod", "kubelet": info.kubelet_version, "runtime": info.container_runtime_version,
            "endings": endings})
    );
    for PodEvent { received, kind, pod } in events {
        let event = json!({"received": received.floor(), "type": kind, "object": recorded(pod)});
        writeln!(text, "{event}")?;
    }
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// The pod with the recorded fields.
fn recorded(pod: &Value) -> Value {
    let has_node = pod["spec"]["nodeName"].is_string();
    let mut pod = with_fields(pod, "").unwrap_or_default();
    let containers = pod["spec"]["initContainers"].as_array_mut().into_iter().flatten();
    for variables in containers.filter_map(|container| container.get_mut("env")?.as_array_mut()) {
        variables.retain(|variable| variable["name"].as_str().is_some_and(|name| VARIABLES.contains(&name)));
    }
    pod["metadata"]["namespace"] = json!("desktops");
    if has_node {
        pod["spec"]["nodeName"] = json!("node-1");
    }
    pod
}

/// The recorded part of a value at this path; `None` if nothing of it is recorded.
fn with_fields(value: &Value, path: &str) -> Option<Value> {
    if FIELDS.contains(&path) {
        return Some(value.clone());
    }
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                Some((name.clone(), with_fields(value, &path)?))
            };
            let fields: Map<_, _> = fields.iter().filter_map(field).collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(|item| with_fields(item, path)).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        _ => None,
    }
}
