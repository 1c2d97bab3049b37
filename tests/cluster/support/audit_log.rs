//! The API server's audit log: what each webhook did with a pod.

use std::fs;

use anyhow::{Result, ensure};
use kit::cluster::{TestCluster, eventually};
use serde_json::{Map, Value};

use super::common::MINUTE;

/// Request to create a pod, with the audit annotations of its webhooks.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(crate) accepted: bool,
    /// Whether the request was a dry run.
    pub(crate) dry_run: bool,
    annotations: Map<String, Value>,
}

/// All requests to create a pod in a namespace, including rejected requests and dry runs. Waits until the log has `count`
/// of them, because the API server writes the log after the response.
pub(crate) async fn creations(cluster: &TestCluster, namespace: &str, count: usize) -> Result<Vec<Creation>> {
    eventually(format!("{count} creations in the audit log"), MINUTE, || async {
        let log = fs::read_to_string(cluster.audit_log())?;
        // Only the lines with the namespace's name are parsed, which is much faster.
        let lines = log.lines().filter(|line| line.contains(namespace));
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let creations: Vec<_> = events.filter_map(|event| Creation::parse(&event, namespace)).collect();
        ensure!(creations.len() >= count, "{} of {count}", creations.len());
        Ok(creations)
    })
    .await
}

// === impl Creation ===

impl Creation {
    fn parse(event: &Value, namespace: &str) -> Option<Self> {
        let object = &event["objectRef"];
        let is_creation = event["verb"] == "create"
            && event["stage"] == "ResponseComplete"
            && object["resource"] == "pods"
            && object["subresource"].is_null()
            && object["namespace"] == namespace;
        is_creation.then(|| Self {
            dry_run: event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All")),
            accepted: event["responseStatus"]["code"] == 201,
            annotations: event["annotations"].as_object().cloned().unwrap_or_default(),
        })
    }

    /// How often the API server called the product's webhooks.
    pub(crate) fn calls(&self) -> usize {
        self.annotations("mutation.webhook.admission.k8s.io/round").len()
    }

    /// The decisions that the product's webhooks reported.
    pub(crate) fn decisions(&self) -> Vec<&str> {
        self.annotations("/decision")
    }

    /// Values of the annotations that have `part` in their key and belong to the product's webhooks.
    fn annotations(&self, part: &str) -> Vec<&str> {
        let annotations = self.annotations.iter().filter_map(|(key, value)| Some((key, value.as_str()?)));
        let of_product = annotations.filter(|(key, value)| {
            key.contains(part) && (key.contains("vdi-metrics.io") || value.contains("vdi-metrics.io"))
        });
        of_product.map(|(_, value)| value).collect()
    }
}
