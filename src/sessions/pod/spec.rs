//! The spec of a pod, reduced to the fields that the ledger needs. Everything else is skipped while it is decoded.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::restart_policy::RestartRule;
use crate::contract::CONTAINER;

/// The spec of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(super) node_name: String,
    pub(super) restart_policy: String,
    pub(super) init_containers: ContainerSpecs,
    pub(super) containers: ContainerSpecs,
    pub(super) resource_claims: Option<Vec<NamedClaim>>,
}

/// A resource claim of a pod, in its spec or its status.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamedClaim {
    /// Name of the claim; none if the claim comes from a template, or if it does not exist yet.
    pub(super) resource_claim_name: Option<String>,
}

/// The containers of a list that have a restart policy of their own or are the sidecar.
#[derive(Debug, Clone, Default)]
pub(super) struct ContainerSpecs(Vec<ContainerSpec>);

/// A container.
#[derive(Debug, Clone, Default)]
pub(super) struct ContainerSpec {
    name: String,
    /// The container's own restart policy.
    pub(super) restart_policy: Option<String>,
    /// Rules of the container that precede its restart policy.
    pub(super) restart_rules: Vec<RestartRule>,
    /// The environment; only of the sidecar.
    environment: Option<Vec<Variable>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) value_from: Option<EnvVarSource>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnvVarSource {
    pub(super) field_ref: Option<ObjectFieldSelector>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectFieldSelector {
    pub(super) field_path: String,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum ContainerField {
    Name,
    Env,
    RestartPolicy,
    RestartPolicyRules,
    #[serde(other)]
    Other,
}

// === impl Spec ===

impl Spec {
    /// The environment of the sidecar; `None` if the pod has no sidecar.
    pub(super) fn sidecar(&self) -> Option<&[Variable]> {
        let mut sidecars =
            [&self.init_containers, &self.containers].into_iter().map(|list| list.of(CONTAINER));
        sidecars.find_map(|sidecar| sidecar.environment.as_deref())
    }
}

// === impl ContainerSpecs ===

impl ContainerSpecs {
    /// The container with this name; an empty one if the list has nothing about it.
    pub(super) fn of(&self, name: &str) -> &ContainerSpec {
        const UNKNOWN: &ContainerSpec = &ContainerSpec {
            name: String::new(),
            restart_policy: None,
            restart_rules: Vec::new(),
            environment: None,
        };
        self.0.iter().find(|container| container.name == name).unwrap_or(UNKNOWN)
    }
}

impl<'de> Deserialize<'de> for ContainerSpecs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Containers;

        impl<'de> Visitor<'de> for Containers {
            type Value = ContainerSpecs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of containers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut containers = vec![];
                while let Some(container) = list.next_element::<ContainerSpec>()? {
                    if container.restart_policy.is_some() || container.environment.is_some() {
                        containers.push(container);
                    }
                }
                Ok(ContainerSpecs(containers))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(ContainerSpecs::default())
            }
        }

        deserializer.deserialize_any(Containers)
    }
}

// === impl ContainerSpec ===

impl<'de> Deserialize<'de> for ContainerSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = ContainerSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a container")
            }

            /// The API server writes `name` before `env`, so the environment of any other container can be skipped.
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let (mut name, mut environment) = (None::<String>, None);
                let (mut restart_policy, mut restart_rules) = (None, None);
                while let Some(field) = fields.next_key()? {
                    let is_other = name.as_ref().is_some_and(|name| name != CONTAINER);
                    match field {
                        ContainerField::Name => name = fields.next_value()?,
                        ContainerField::RestartPolicy => restart_policy = fields.next_value()?,
                        ContainerField::RestartPolicyRules => restart_rules = fields.next_value()?,
                        ContainerField::Env if !is_other => {
                            environment = fields.next_value::<Option<Vec<Variable>>>()?;
                        }
                        ContainerField::Env | ContainerField::Other => {
                            fields.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let name = name.unwrap_or_default();
                let environment = (name == CONTAINER).then(|| environment.unwrap_or_default());
                let restart_rules = restart_rules.unwrap_or_default();
                Ok(ContainerSpec { name, restart_policy, restart_rules, environment })
            }
        }

        deserializer.deserialize_map(Fields)
    }
}
