//! The API server's own account of what each webhook did, from its audit log.

use std::fs;

use anyhow::{Result, ensure};
use kit::cluster::{Bed, eventually};
use serde_json::{Map, Value};

use crate::product::MINUTE;

/// One request for a pod, with what webhooks said of it.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(crate) accepted: bool,
    /// It was for show.
    pub(crate) dry: bool,
    annotations: Map<String, Value>,
}

/// Every creation of a pod in a namespace that was asked for, refused and dry ones included, when there are that many. The
/// log is written after the answer, so they are waited for.
pub(crate) async fn creations(bed: &Bed, namespace: &str, count: usize) -> Result<Vec<Creation>> {
    eventually(format!("{count} creations in the audit log"), MINUTE, || async {
        let log = fs::read_to_string(bed.audit_log())?;
        // To parse only the lines in question is much faster.
        let lines = log.lines().filter(|line| line.contains(namespace));
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found: Vec<_> = events.filter_map(|event| Creation::of(&event, namespace)).collect();
        ensure!(found.len() >= count, "{} of {count}", found.len());
        Ok(found)
    })
    .await
}

// === impl Creation ===

impl Creation {
    fn of(event: &Value, namespace: &str) -> Option<Self> {
        let object = &event["objectRef"];
        let is_one = event["verb"] == "create"
            && event["stage"] == "ResponseComplete"
            && object["resource"] == "pods"
            && object["subresource"].is_null()
            && object["namespace"] == namespace;
        is_one.then(|| Self {
            dry: event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All")),
            accepted: event["responseStatus"]["code"] == 201,
            annotations: event["annotations"].as_object().cloned().unwrap_or_default(),
        })
    }

    /// How often a webhook of ours was asked.
    pub(crate) fn calls(&self) -> usize {
        self.ours("mutation.webhook.admission.k8s.io/round").len()
    }

    /// What our webhooks said of their decision.
    pub(crate) fn decisions(&self) -> Vec<&str> {
        self.ours("/decision")
    }

    /// Values of those annotations with `part` in their key that are about a webhook of ours.
    fn ours(&self, part: &str) -> Vec<&str> {
        let annotations = self.annotations.iter().filter_map(|(key, value)| Some((key, value.as_str()?)));
        let ours = annotations.filter(|(key, value)| {
            key.contains(part) && (key.contains("vdi-metrics.io") || value.contains("vdi-metrics.io"))
        });
        ours.map(|(_, value)| value).collect()
    }
}
