//! The API server's side of the decision: whether it would ask us about a pod at all. Read from the webhook configuration
//! that is shipped, so that it is told once.

use std::fmt::{self, Write as _};

use serde::Deserialize;

use super::manifest::Node;
use crate::contract::key;

/// The shipped configuration.
const CONFIGURATION: &str = include_str!("../../webhook-config/webhook.yaml");

/// One entry of the configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Webhook {
    pub(super) name: String,
    #[serde(default)]
    namespace_selector: Selector,
    #[serde(default)]
    object_selector: Selector,
    #[serde(default)]
    match_conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    match_labels: std::collections::BTreeMap<String, String>,
    match_expressions: Vec<Requirement>,
}

/// What a selector asks of one label.
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
struct Condition {
    name: String,
}

/// Labels, or annotations.
pub(super) type Labels = [(String, String)];

/// A match condition's name, and whether a pod meets it.
type Known = (&'static str, fn(&Node) -> bool);

/// The conditions are CEL, which we do not run.
const CONDITIONS: [Known; 2] = [
    ("not-opted-out-by-annotation", |pod| {
        annotation(pod, key::INJECT).and_then(Node::as_str) != Some(key::DISABLED)
    }),
    ("not-a-mirror-pod", |pod| annotation(pod, "kubernetes.io/config.mirror").is_none()),
];

fn annotation<'n>(pod: &'n Node, key: &str) -> Option<&'n Node> {
    pod.at(&["metadata", "annotations", key])
}

/// The entries of the configuration.
pub(super) fn webhooks() -> anyhow::Result<Vec<Webhook>> {
    #[derive(Deserialize)]
    struct Configuration {
        webhooks: Vec<Webhook>,
    }
    let configuration: Configuration = serde_saphyr::from_str(CONFIGURATION)?;
    Ok(configuration.webhooks)
}

/// The labels of an object.
pub(super) fn labels(object: &Node) -> Vec<(String, String)> {
    let entries = object.at(&["metadata", "labels"]).and_then(Node::entries).unwrap_or_default();
    entries.iter().filter_map(|entry| Some((entry.key.clone(), entry.value.as_str()?.to_owned()))).collect()
}

// === impl Webhook ===

impl Webhook {
    /// What keeps the API server from asking this entry about the pod; nothing where it asks.
    pub(super) fn obstacles(&self, pod: &Node, namespace: &Labels) -> Vec<String> {
        let mut obstacles = self.namespace_selector.unmet("namespaceSelector", "the namespace", namespace);
        obstacles.extend(self.object_selector.unmet("objectSelector", "the pod", &labels(pod)));
        let conditions = self.match_conditions.iter().filter_map(|Condition { name }| {
            match CONDITIONS.iter().find(|(known, _)| known == name) {
                Some((_, met)) => {
                    (!met(pod)).then(|| format!("matchCondition {name}: the pod does not meet it"))
                }
                None => Some(format!("matchCondition {name}: not known to this program")),
            }
        });
        obstacles.extend(conditions);
        obstacles
    }
}

// === impl Selector ===

impl Selector {
    fn unmet(&self, selector: &str, of: &str, labels: &Labels) -> Vec<String> {
        let equal = self.match_labels.iter().map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.clone()],
        });
        let mut unmet = vec![];
        for requirement in equal.collect::<Vec<_>>().iter().chain(&self.match_expressions) {
            let value = labels.iter().find(|(key, _)| *key == requirement.key).map(|(_, value)| &**value);
            if !requirement.is_met(value) {
                let mut why = format!("{selector}: {requirement}; {of} has ");
                _ = match value {
                    Some(value) => write!(why, "{value:?}"),
                    None => write!(why, "no such label"),
                };
                unmet.push(why);
            }
        }
        unmet
    }
}

// === impl Requirement ===

impl Requirement {
    fn is_met(&self, value: Option<&str>) -> bool {
        let listed = value.is_some_and(|value| self.values.iter().any(|one| one == value));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
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
    fn every_condition_of_the_configuration_is_known() {
        let webhooks = webhooks().unwrap();
        assert_eq!(webhooks.len(), 2);
        for Condition { name } in webhooks.iter().flat_map(|webhook| &webhook.match_conditions) {
            assert!(CONDITIONS.iter().any(|(known, _)| known == name), "{name}");
        }
    }

    #[test]
    fn requirements_are_labels_selectors() {
        for (operator, value, met) in [
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
            let requirement: Requirement = serde_saphyr::from_str(operator).unwrap();
            assert_eq!(requirement.is_met(value), met, "{operator} {value:?}");
        }
    }
}
