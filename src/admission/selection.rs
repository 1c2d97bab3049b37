//! The first step of the decision: whether the API server calls the webhook for a pod. This module evaluates the shipped
//! webhook configuration, which is part of the program.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::LazyLock,
};

use serde::Deserialize;
use serde_json::Value;

use crate::contract::key;

/// The shipped webhook configuration.
static CONFIGURATION: LazyLock<Value> = LazyLock::new(|| {
    serde_saphyr::from_str(include_str!("../../webhook-config/webhook.yaml")).unwrap_or_default()
});

/// The name of the shipped configuration.
#[must_use]
pub fn shipped_name() -> &'static str {
    CONFIGURATION["metadata"]["name"].as_str().unwrap_or_default()
}

/// The entries of the shipped configuration, as unparsed values.
#[must_use]
pub fn shipped_entries() -> &'static [Value] {
    CONFIGURATION["webhooks"].as_array().map_or(&[], Vec::as_slice)
}

/// The names of the entries.
pub fn shipped_entry_names() -> impl Iterator<Item = &'static str> {
    shipped_entries().iter().filter_map(|entry| entry["name"].as_str())
}

/// The entries of the shipped configuration, parsed.
///
/// # Errors
/// Fails if an entry has a selector that this program cannot read.
pub fn shipped_webhooks() -> serde_json::Result<Vec<WebhookEntry>> {
    shipped_entries().iter().map(WebhookEntry::deserialize).collect()
}

/// Entry of a webhook configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookEntry {
    /// The full name.
    pub name: String,
    #[serde(default)]
    namespace_selector: LabelSelector,
    #[serde(default)]
    object_selector: LabelSelector,
    #[serde(default)]
    match_conditions: Vec<MatchCondition>,
}

/// Returns the value of a key.
pub type Lookup<'c> = &'c dyn Fn(&str) -> Option<&'c str>;

/// The parts of a pod and of its namespace that selectors and conditions read.
#[derive(Clone, Copy)]
pub struct Candidate<'c> {
    /// Labels of the pod.
    pub labels: Lookup<'c>,
    /// Annotations of the pod.
    pub annotations: Lookup<'c>,
    /// Labels of the namespace.
    pub namespace_labels: Lookup<'c>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LabelSelector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Requirement>,
}

/// A condition on the value of one label.
#[derive(Debug, Deserialize)]
struct Requirement {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Debug, Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

#[derive(Debug, Deserialize)]
struct MatchCondition {
    name: String,
}

/// Name of a match condition, and whether a pod meets it.
type EvaluatedCondition = (&'static str, fn(&Candidate<'_>) -> bool);

/// The match conditions of the shipped configuration, in Rust: this program does not evaluate CEL.
const CONDITIONS: [EvaluatedCondition; 2] = [
    ("not-opted-out-by-annotation", |pod| (pod.annotations)(key::INJECT) != Some(key::DISABLED)),
    ("not-a-mirror-pod", |pod| (pod.annotations)("kubernetes.io/config.mirror").is_none()),
];

// === impl WebhookEntry ===

impl WebhookEntry {
    /// Every reason why the API server does not call the webhook for this pod. Empty if the API server calls the webhook.
    #[must_use]
    pub fn obstacles(&self, pod: &Candidate<'_>) -> Vec<String> {
        let mut obstacles =
            self.namespace_selector.unmet("namespaceSelector", "the namespace", pod.namespace_labels);
        obstacles.extend(self.object_selector.unmet("objectSelector", "the pod", pod.labels));
        obstacles.extend(self.match_conditions.iter().filter_map(|condition| condition.obstacle(pod)));
        obstacles
    }
}

// === impl MatchCondition ===

impl MatchCondition {
    fn obstacle(&self, pod: &Candidate<'_>) -> Option<String> {
        let Self { name } = self;
        match CONDITIONS.iter().find(|(evaluated, _)| evaluated == name) {
            Some((_, is_met)) => {
                (!is_met(pod)).then(|| format!("matchCondition {name}: the pod does not meet it"))
            }
            None => Some(format!("matchCondition {name}: this program cannot evaluate it")),
        }
    }
}

// === impl LabelSelector ===

impl LabelSelector {
    fn unmet(&self, selector: &str, owner: &str, labels: Lookup<'_>) -> Vec<String> {
        let equal = self.match_labels.iter().map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.clone()],
        });
        let mut unmet = vec![];
        for requirement in equal.collect::<Vec<_>>().iter().chain(&self.match_expressions) {
            let value = labels(&requirement.key);
            if !requirement.is_met(value) {
                let mut obstacle = format!("{selector}: {requirement}; {owner} has ");
                _ = match value {
                    Some(value) => write!(obstacle, "{value:?}"),
                    None => write!(obstacle, "no such label"),
                };
                unmet.push(obstacle);
            }
        }
        unmet
    }
}

// === impl Requirement ===

impl Requirement {
    fn is_met(&self, value: Option<&str>) -> bool {
        let is_listed = value.is_some_and(|value| self.values.iter().any(|listed| listed == value));
        match self.operator {
            Operator::In => is_listed,
            Operator::NotIn => !is_listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values } = self;
        write!(f, "{key} {operator:?}")?;
        if values.is_empty() { Ok(()) } else { write!(f, " ({})", values.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_match_condition_of_the_shipped_configuration_is_evaluated() {
        let webhooks = shipped_webhooks().unwrap();
        assert_eq!(webhooks.len(), 2);
        for MatchCondition { name } in webhooks.iter().flat_map(|webhook| &webhook.match_conditions) {
            assert!(CONDITIONS.iter().any(|(evaluated, _)| evaluated == name), "{name}");
        }
    }

    #[test]
    fn requirements_follow_the_semantics_of_label_selectors() {
        for (requirement, value, met) in [
            ("{key: a, operator: In, values: [x, y]}", Some("y"), true),
            ("{key: a, operator: In, values: [x, y]}", Some("z"), false),
            ("{key: a, operator: In, values: [x, y]}", None, false),
            ("{key: a, operator: NotIn, values: [x]}", Some("x"), false),
            ("{key: a, operator: NotIn, values: [x]}", None, true),
            ("{key: a, operator: Exists}", Some(""), true),
            ("{key: a, operator: Exists}", None, false),
            ("{key: a, operator: DoesNotExist}", None, true),
            ("{key: a, operator: DoesNotExist}", Some("x"), false),
        ] {
            let parsed: Requirement = serde_saphyr::from_str(requirement).unwrap();
            assert_eq!(parsed.is_met(value), met, "{requirement} {value:?}");
        }
    }
}
