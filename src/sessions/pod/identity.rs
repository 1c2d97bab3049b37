//! The identity of the session. It is read from the environment of the sidecar in the pod's spec, as the sidecar reads it.
//!
//! Admission writes the path of each name into this environment, by the configuration that was active when the pod was
//! created. So the server and the sidecar show the same names, under every profile and after every change of the
//! configuration. This module does not need the configuration.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::contract::{self, CONTAINER, env, key};

/// A name that is part of the identity.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionName {
    /// Environment variable of the sidecar that contains the name.
    pub(super) variable: &'static str,
    /// Label or annotation that contains the name if the pod's spec has no sidecar.
    pub(super) key: &'static str,
}

/// The template.
pub(super) const TEMPLATE: SessionName = SessionName { variable: env::TEMPLATE, key: key::TEMPLATE };

/// The spec of a pod, reduced to the environment of the sidecar. Everything else is skipped while it is decoded.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::sessions) struct Spec {
    init_containers: SidecarEnvironment,
    containers: SidecarEnvironment,
}

/// The environment of the sidecar in a list of containers; `None` if the list does not contain the sidecar.
#[derive(Debug, Clone, Default)]
struct SidecarEnvironment(Option<Vec<Variable>>);

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    name: String,
    value: Option<String>,
    value_from: Option<EnvVarSource>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvVarSource {
    field_ref: Option<ObjectFieldSelector>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectFieldSelector {
    field_path: String,
}

/// The environment of a container if the container is the sidecar.
struct Container(Option<Vec<Variable>>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum ContainerField {
    Name,
    Env,
    #[serde(other)]
    Other,
}

// === impl SessionName ===

impl SessionName {
    /// The name in this pod; `None` if the pod does not contain it.
    pub(super) fn of<'p>(&self, spec: &'p Spec, metadata: &'p ObjectMeta) -> Option<&'p str> {
        let value = match spec.sidecar() {
            Some(environment) => {
                environment.iter().find(|variable| variable.name == self.variable)?.value(metadata)
            }
            None => [label(metadata, self.key), annotation(metadata, self.key)]
                .into_iter()
                .flatten()
                .find(|value| !value.is_empty()),
        };
        contract::shown_name(value?)
    }
}

fn label<'p>(metadata: &'p ObjectMeta, key: &str) -> Option<&'p str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn annotation<'p>(metadata: &'p ObjectMeta, key: &str) -> Option<&'p str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

// === impl Spec ===

impl Spec {
    fn sidecar(&self) -> Option<&[Variable]> {
        self.init_containers.0.as_deref().or(self.containers.0.as_deref())
    }
}

// === impl Variable ===

impl Variable {
    /// The value that the kubelet gives to the container: `metadata.labels['KEY']` is the label KEY of the pod.
    fn value<'p>(&'p self, metadata: &'p ObjectMeta) -> Option<&'p str> {
        let Some(field) = self.value_from.as_ref().and_then(|source| source.field_ref.as_ref()) else {
            return self.value.as_deref();
        };
        let (map, key) = field.field_path.strip_suffix("']")?.split_once("['")?;
        match map {
            "metadata.labels" => label(metadata, key),
            "metadata.annotations" => annotation(metadata, key),
            _ => None,
        }
    }
}

// === impl SidecarEnvironment ===

impl<'de> Deserialize<'de> for SidecarEnvironment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Containers;

        impl<'de> Visitor<'de> for Containers {
            type Value = SidecarEnvironment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of containers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut containers: A) -> Result<Self::Value, A::Error> {
                let mut sidecar = None;
                while let Some(Container(environment)) = containers.next_element()? {
                    sidecar = sidecar.or(environment);
                }
                Ok(SidecarEnvironment(sidecar))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(SidecarEnvironment(None))
            }
        }

        deserializer.deserialize_any(Containers)
    }
}

// === impl Container ===

impl<'de> Deserialize<'de> for Container {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Container;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a container")
            }

            /// The API server writes `name` before `env`, so the environment of any other container can be skipped.
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let (mut name, mut environment) = (None::<String>, None::<Vec<Variable>>);
                while let Some(field) = fields.next_key()? {
                    let is_other = name.as_ref().is_some_and(|name| name != CONTAINER);
                    match field {
                        ContainerField::Name => name = fields.next_value()?,
                        ContainerField::Env if !is_other => environment = fields.next_value()?,
                        ContainerField::Env | ContainerField::Other => {
                            fields.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let is_sidecar = name.is_some_and(|name| name == CONTAINER);
                Ok(Container(is_sidecar.then(|| environment.unwrap_or_default())))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests;
