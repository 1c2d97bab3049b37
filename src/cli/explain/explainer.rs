//! Explains the pods of a document.

use super::{
    advice,
    explanation::{Explanation, SidecarPreview, WebhookCall},
};
use crate::{
    admission::{Injector, Outcome, SkipReason, selection::WebhookEntry},
    cli::{
        cluster_state::{ClusterState, Labels},
        manifest::Node,
        pod::patch,
        workload::{self, ManifestObject},
    },
    contract::key,
};

/// Configuration and cluster state that decide about pods.
pub(super) struct Explainer<'a> {
    /// Namespace of objects whose manifest does not name one.
    pub(super) default_namespace: &'a str,
    /// Labels of namespaces that `cluster` does not contain.
    pub(super) default_labels: &'a Labels,
    pub(super) injector: Injector,
    pub(super) webhooks: Vec<WebhookEntry>,
    pub(super) cluster: ClusterState,
}

// === impl Explainer ===

impl Explainer<'_> {
    /// Explains every pod of a document.
    pub(super) fn explain_all(&self, root: &Node) -> Vec<Explanation> {
        let objects = workload::objects(root);
        objects.iter().filter_map(|object| self.explain(root, object)).collect()
    }

    fn explain(&self, root: &Node, object: &ManifestObject) -> Option<Explanation> {
        let (owner, pod) = (root.at(&object.path)?, root.at(object.pod.as_ref()?)?);
        let namespace = object.namespace_or(self.default_namespace);
        let labels = self.cluster.labels(namespace, self.default_labels);
        let webhooks: Vec<_> =
            self.webhooks.iter().map(|webhook| WebhookCall::of(webhook, pod, &labels)).collect();
        let is_called = webhooks.iter().any(|webhook| webhook.is_called);
        let decision = self.injector.consider(&pod.json(), namespace, &self.cluster.limits);
        let outcome = decision.outcome;
        let has_sidecar =
            matches!(outcome, Outcome::Repaired | Outcome::Skipped(SkipReason::AlreadyInjected));
        let gets_sidecar = is_called && outcome == Outcome::Injected;
        let rule = if has_sidecar {
            "the pod has the sidecar already (annotation vdi-metrics.io/config)".to_owned()
        } else if let (true, Outcome::Skipped(reason)) = (is_called, outcome) {
            format!("the webhook skips the pod with the reason {}", reason.as_str())
        } else {
            rule_of_the_call(pod, &labels, is_called).to_owned()
        };
        let adds = gets_sidecar.then(|| SidecarPreview::of(pod, decision.patch.as_ref())).flatten();
        Some(Explanation {
            object: object.label.clone(),
            namespace: namespace.to_owned(),
            injected: gets_sidecar || has_sidecar,
            rule,
            webhooks,
            answer: outcome.to_string(),
            notices: patch::notices(&decision),
            advice: advice::on(owner, pod, &labels, adds.as_ref().map(|adds| &*adds.port)),
            adds,
        })
    }
}

/// The label or annotation that decides whether the API server calls the webhook.
fn rule_of_the_call(pod: &Node, namespace: &Labels, is_called: bool) -> &'static str {
    let is = |value: &str, map: &str| {
        pod.at(&["metadata", map, key::INJECT]).and_then(Node::as_str) == Some(value)
    };
    let opted_in = namespace.iter().any(|(name, value)| (&**name, &**value) == (key::INJECT, key::ENABLED));
    let rules = [
        (is(key::DISABLED, "labels"), "label vdi-metrics.io/inject: disabled on the pod"),
        (is(key::DISABLED, "annotations"), "annotation vdi-metrics.io/inject: disabled on the pod"),
        (is(key::ENABLED, "labels") && is_called, "label vdi-metrics.io/inject: enabled on the pod"),
        (opted_in && is_called, "label vdi-metrics.io/inject: enabled on the namespace"),
        (
            is(key::ENABLED, "labels") || opted_in,
            "opted in, but a selector or condition of the webhook configuration excludes the pod",
        ),
    ];
    let rule = rules.iter().find_map(|(applies, rule)| applies.then_some(*rule));
    rule.unwrap_or("neither the pod nor its namespace has the label vdi-metrics.io/inject: enabled")
}
