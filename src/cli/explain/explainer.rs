//! Explains the pods of a document.

use super::{
    advice,
    explanation::{Explanation, SidecarPreview, WebhookCall},
};
use crate::{
    admission::{Injector, Outcome, SkipReason, selection::WebhookEntry},
    cli::{
        cluster_state::{ClusterState, Labels},
        manifest::{Manifest, Node},
        pod::patch,
        workload::{self, ManifestObject, PodPaths},
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
    /// Explains every pod of a manifest.
    pub(super) fn explain_all(&self, manifest: &Manifest) -> Vec<Explanation> {
        let mut explanations = vec![];
        for (index, document) in manifest.documents.iter().enumerate() {
            let place = |field: &[String]| manifest.place(index, field);
            for object in workload::objects(&document.root) {
                let pods = object.pods.all().iter();
                explanations.extend(pods.map(|pod| self.explain(&place, &document.root, &object, pod)));
            }
        }
        explanations
    }

    /// `place` names file, document and line of a field.
    fn explain(
        &self,
        place: &dyn Fn(&[String]) -> String,
        root: &Node,
        object: &ManifestObject,
        path: &[String],
    ) -> Explanation {
        let unreadable = object.unreadable(root, path);
        let empty = Node::map();
        let pod = root.at(path).unwrap_or(&empty);
        let namespace = object.namespace_or(self.default_namespace);
        let labels = self.cluster.labels(namespace, self.default_labels);
        let webhooks: Vec<_> =
            self.webhooks.iter().map(|webhook| WebhookCall::of(webhook, pod, &labels)).collect();
        let is_called = webhooks.iter().any(|webhook| webhook.is_called);
        let decision = self.injector.consider(&pod.json(), namespace, &self.cluster.limits);
        let outcome = match unreadable {
            Some(_) => Outcome::Skipped(SkipReason::Undecodable),
            None => decision.outcome,
        };
        let has_sidecar =
            matches!(outcome, Outcome::Repaired | Outcome::Skipped(SkipReason::AlreadyInjected));
        let gets_sidecar = is_called && outcome == Outcome::Injected;
        let rule = match unreadable {
            Some(field) => format!("the pod cannot be read: {}, {field}", place(field.path())),
            None if has_sidecar => {
                "the pod has the sidecar already (annotation vdi-metrics.io/config)".to_owned()
            }
            None => rule(outcome, pod, &labels, is_called),
        };
        let adds = gets_sidecar.then(|| SidecarPreview::of(pod, decision.patch.as_ref())).flatten();
        let port = adds.as_ref().map(|adds| &*adds.port);
        Explanation {
            object: object.label.clone(),
            namespace: namespace.to_owned(),
            injected: gets_sidecar || has_sidecar,
            rule,
            webhooks,
            answer: outcome.to_string(),
            notices: patch::notices(&decision),
            advice: match &object.pods {
                PodPaths::OfKind(_) => advice::on(root.at(&object.path).unwrap_or(pod), pod, &labels, port),
                PodPaths::OfUnknownKind(_) => advice::of_unknown_kind(path, pod, &labels, port),
            },
            adds,
        }
    }
}

/// The rule that decides about a pod without the sidecar.
fn rule(outcome: Outcome, pod: &Node, namespace: &Labels, is_called: bool) -> String {
    match outcome {
        Outcome::Skipped(reason) if is_called => {
            format!("the webhook skips the pod with the reason {}", reason.as_str())
        }
        _ => rule_of_the_call(pod, namespace, is_called).to_owned(),
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
