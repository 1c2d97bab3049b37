//! The identity of the session. It is read from the environment of the sidecar in the pod's spec, as the sidecar reads it.
//!
//! Admission writes the path of each name into this environment, by the configuration that was active when the pod was
//! created. So the server and the sidecar show the same names, under every profile and after every change of the
//! configuration. This module does not need the configuration.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::spec::{Spec, Variable};
use crate::{
    contract::{self, env, key},
    sessions::ledger::GroupNames,
};

/// A name that is part of the identity.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionName {
    /// Environment variable of the sidecar that contains the name.
    pub(super) variable: &'static str,
    /// Label or annotation that contains the name if the pod's spec has no sidecar.
    pub(super) key: &'static str,
}

/// More characters than the hash of a configuration has. The creator of a pod can write a longer annotation.
const MAX_HASH: usize = 32;

/// The template.
pub(super) const TEMPLATE: SessionName = SessionName { variable: env::TEMPLATE, key: key::TEMPLATE };

/// The pool.
pub(super) const POOL: SessionName = SessionName { variable: env::POOL, key: key::POOL };

/// The names that group sessions.
pub(super) fn names(spec: &Spec, metadata: &ObjectMeta) -> GroupNames {
    let name = |name: SessionName| name.of(spec, metadata).map(str::to_owned);
    GroupNames { template: name(TEMPLATE), pool: name(POOL) }
}

/// The hash of the configuration by which the sidecar was injected; empty if the pod does not have it.
pub(super) fn configuration(metadata: &ObjectMeta) -> String {
    annotation(metadata, key::CONFIG).unwrap_or_default().chars().take(MAX_HASH).collect()
}

// === impl SessionName ===

impl SessionName {
    /// The name in this pod; `None` if the pod does not contain it.
    pub(super) fn of<'p>(&self, spec: &'p Spec, metadata: &'p ObjectMeta) -> Option<&'p str> {
        let value = match spec.sidecar() {
            Some(environment) => {
                environment.iter().find(|variable| variable.name == self.variable)?.value_in(metadata)
            }
            // Admission would not give an invalid value to the sidecar.
            None => [label(metadata, self.key), annotation(metadata, self.key)]
                .into_iter()
                .flatten()
                .find(|value| contract::is_valid_name(value)),
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

// === impl Variable ===

impl Variable {
    /// The value that the kubelet gives to the container: `metadata.labels['KEY']` is the label KEY of the pod.
    fn value_in<'p>(&'p self, metadata: &'p ObjectMeta) -> Option<&'p str> {
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

#[cfg(test)]
mod tests;
