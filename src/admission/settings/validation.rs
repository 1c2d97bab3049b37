//! Parses and checks the content of a configuration file.

use std::path::Path;

use super::{
    error::SettingsError,
    profiles::Profile,
    types::{ConfiguredResources, GpuResources, LabelValues, Settings, SidecarSettings},
};
use crate::{admission::quantity::Quantity, contract};

/// Minimum memory limit. With less memory the kernel kills the sidecar, and the pod is not ready while the sidecar restarts.
pub const MIN_MEMORY: Quantity = Quantity::mebibytes(16);

/// Maximum number of names that always have their own label value. The ledger has 200 label values; so others have space too.
const MAX_LABEL_VALUES: usize = 150;

/// Label values of the ledger that are no names.
const RESERVED_LABEL_VALUES: [&str; 2] = ["none", "other"];

// === impl Settings ===

impl Settings {
    /// Parses the content of the file at `path`.
    ///
    /// # Errors
    /// Fails if the content is not valid. The error names the file, and the line or the field.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let settings: Self =
            serde_saphyr::from_str(text).map_err(|error| SettingsError::syntax(path, error))?;
        settings.validate().map_err(|message| SettingsError::value(path, message))?;
        Ok(settings)
    }

    fn validate(&self) -> Result<(), String> {
        let Self {
            sidecar,
            gpu_access: _,
            gpu_resources,
            node_totals: _,
            presence: _,
            scrape_annotations: _,
            show_user: _,
            profiles,
            paused: _,
            label_values,
        } = self;
        sidecar.validate()?;
        label_values.validate()?;
        gpu_resources.validate()?;
        profiles.iter().enumerate().try_for_each(|(index, profile)| profile.validate(index))
    }
}

// === impl LabelValues ===

impl LabelValues {
    fn validate(&self) -> Result<(), String> {
        let Self { templates, pools } = self;
        for (field, names) in [("templates", templates), ("pools", pools)] {
            if names.len() > MAX_LABEL_VALUES {
                return Err(format!(
                    "labelValues.{field} has {} names; at most {MAX_LABEL_VALUES} are possible",
                    names.len()
                ));
            }
            if let Some(name) = names.iter().find(|name| !contract::is_valid_name(name)) {
                return Err(format!(
                    "labelValues.{field} has the name {name:?}; a name has 1 to {} bytes without control characters",
                    contract::MAX_NAME_BYTES
                ));
            }
            if let Some(name) = names.iter().find(|name| RESERVED_LABEL_VALUES.contains(&name.as_str())) {
                return Err(format!(
                    "labelValues.{field} has the name {name:?}; it is reserved for sessions without a name and for all further names"
                ));
            }
        }
        Ok(())
    }
}

// === impl SidecarSettings ===

impl SidecarSettings {
    fn validate(&self) -> Result<(), String> {
        let Self {
            image,
            architectures,
            image_pull_policy: _,
            image_pull_secrets,
            mode: _,
            port,
            interval_seconds,
            fixed_user: _,
            resources,
        } = self;
        if !is_image(image) {
            return Err(format!("sidecar.image is {image:?}; name an image or leave the field out"));
        }
        if architectures.is_empty() || !architectures.iter().all(|arch| is_object_name(arch)) {
            return Err(format!(
                "sidecar.architectures is {architectures:?}; list the architectures of the image, such as amd64"
            ));
        }
        if let Some(secret) = image_pull_secrets.iter().find(|name| !is_object_name(name)) {
            return Err(format!("sidecar.imagePullSecrets names {secret:?}; use names of Secrets"));
        }
        if !is_port(*port) {
            return Err(format!("sidecar.port is {port}; the sidecar is not root, so use 1024 or above"));
        }
        if !contract::ALLOWED_INTERVAL_SECONDS.contains(interval_seconds) {
            let (shortest, longest) = contract::ALLOWED_INTERVAL_SECONDS.into_inner();
            return Err(format!(
                "sidecar.intervalSeconds is {interval_seconds}; use {shortest} to {longest}"
            ));
        }
        resources.validate()
    }
}

/// Whether the sidecar, which is not root, can listen on this port.
#[must_use]
pub const fn is_port(port: u16) -> bool {
    port >= 1024
}

/// Whether the kubelet accepts the image name. With an invalid name the desktop would never start.
#[must_use]
pub fn is_image(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    name.len() <= 512 && name.starts_with(is_alphanumeric) && name.chars().all(is_allowed)
}

fn is_object_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    (1..=253).contains(&name.len()) && name.chars().all(is_allowed)
}

// === impl ConfiguredResources ===

impl ConfiguredResources {
    fn validate(&self) -> Result<(), String> {
        let Self { requests, limits } = self;
        for (field, request, limit) in
            [("cpu", requests.cpu, limits.cpu), ("memory", requests.memory, limits.memory)]
        {
            if !request.is_positive() {
                return Err(format!("sidecar.resources.requests.{field} is {request}; use more than 0"));
            }
            if request > limit {
                return Err(format!(
                    "sidecar.resources.requests.{field} is {request}; use at most the limit, {limit}"
                ));
            }
        }
        if limits.memory < MIN_MEMORY {
            let memory = limits.memory;
            return Err(format!("sidecar.resources.limits.memory is {memory}; use {MIN_MEMORY} or more"));
        }
        Ok(())
    }
}

// === impl GpuResources ===

impl GpuResources {
    fn validate(&self) -> Result<(), String> {
        for (field, names) in [("device", &self.device), ("part", &self.part)] {
            if let Some(name) = names.iter().find(|name| !is_resource_pattern(name)) {
                return Err(format!(
                    "gpuResources.{field} contains {name:?}; use names of extended resources, such as example.com/gpu or example.com/gpu-*"
                ));
            }
        }
        Ok(())
    }
}

/// Whether the name, or its part before a `*` at the end, can be an extended resource. Such a resource has a domain.
fn is_resource_pattern(pattern: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    name.split_once('/').is_some_and(|(domain, rest)| {
        is_object_name(domain) && rest.chars().all(is_allowed) && (name != pattern || !rest.is_empty())
    })
}

// === impl Profile ===

impl Profile {
    fn validate(&self, index: usize) -> Result<(), String> {
        let Self { name, match_labels, session, template, user, pool } = self;
        if name.is_empty() {
            return Err(format!("profiles[{index}].name is missing; give the profile a name"));
        }
        if match_labels.is_empty() {
            return Err(format!(
                "profiles[{index}].matchLabels is empty; name a label that only pods of {name} have"
            ));
        }
        let keys = [("session", session), ("template", template), ("user", user), ("pool", pool)];
        for (field, key) in keys.into_iter().filter_map(|(field, key)| Some((field, key.as_ref()?))) {
            if !is_key(key) {
                return Err(format!(
                    "profiles[{index}].{field} is {key:?}; use a label or annotation key such as example.com/{field}"
                ));
            }
        }
        Ok(())
    }
}

/// Whether the key follows the rules of Kubernetes. The API server rejects a pod with a field path that contains any other
/// key.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let has_valid_ends = |text: &str| text.starts_with(is_alphanumeric) && text.ends_with(is_alphanumeric);
    (1..=63).contains(&name.len())
        && has_valid_ends(name)
        && name.chars().all(is_allowed)
        && prefix.is_none_or(|prefix| is_object_name(prefix) && has_valid_ends(prefix))
}

const fn is_alphanumeric(c: char) -> bool {
    c.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::settings::PresenceSetting;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("config.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_means_the_defaults() {
        assert_eq!(parse("sidecar: {}").unwrap(), Settings::default());
        assert_eq!(parse("sidecar: {port: 9999}").unwrap().sidecar.port, 9999);
    }

    /// In YAML 1.1 a plain `off` is a bool.
    #[test]
    fn presence_is_switched_off_with_and_without_quotes() {
        for text in ["presence: off", "presence: \"off\""] {
            assert_eq!(parse(text).unwrap().presence, PresenceSetting::Off, "{text}");
        }
    }

    #[test]
    fn written_settings_can_be_parsed_again() {
        let text = serde_saphyr::to_string(&Settings::default()).unwrap();
        assert_eq!(parse(&text).unwrap(), Settings::default());
    }

    #[test]
    fn errors_name_file_field_and_remedy() {
        for (text, expected) in [
            ("sidecar: {prot: 1}", ["config.yaml", "prot", "line 1"]),
            ("sidecar: {image: ''}", ["config.yaml", "sidecar.image", "leave the field out"]),
            ("sidecar: {image: 'a b'}", ["config.yaml", "sidecar.image", "name an image"]),
            ("sidecar: {architectures: []}", ["config.yaml", "sidecar.architectures", "amd64"]),
            ("sidecar: {architectures: [x 86]}", ["config.yaml", "sidecar.architectures", "amd64"]),
            ("sidecar: {imagePullSecrets: [A]}", ["config.yaml", "sidecar.imagePullSecrets", "Secrets"]),
            ("sidecar: {port: 80}", ["config.yaml", "sidecar.port", "1024"]),
            ("sidecar: {intervalSeconds: 1}", ["config.yaml", "sidecar.intervalSeconds", "5 to 300"]),
            ("sidecar: {resources: {limits: {cpu: 1, memory: 10 m}}}", ["config.yaml", "10 m", "24Mi"]),
            ("sidecar: {resources: {limits: {cpu: 1, memory: 30}}}", ["config.yaml", "memory", "24Mi"]),
            (
                "sidecar: {resources: {requests: {cpu: 0, memory: 1Mi}}}",
                ["config.yaml", "requests.cpu", "more than 0"],
            ),
            ("gpuAccess: all", ["config.yaml", "all", "runtime"]),
            ("presence: on", ["config.yaml", "on", "off"]),
            ("presence: false", ["config.yaml", "false", "off"]),
            ("gpuResources: [example.com/gpu]", ["config.yaml", "line 1", "mapping"]),
            ("gpuResources: {device: [gpu]}", ["config.yaml", "gpuResources.device", "example.com/gpu"]),
            (
                "gpuResources: {device: ['example.com/']}",
                ["config.yaml", "gpuResources.device", "example.com/gpu"],
            ),
            ("gpuResources: {part: ['*']}", ["config.yaml", "gpuResources.part", "example.com/gpu"]),
            (
                "gpuResources: {part: ['example.com/*-gpu']}",
                ["config.yaml", "gpuResources.part", "example.com/gpu-*"],
            ),
            ("profiles: [{name: x}]", ["config.yaml", "profiles[0].matchLabels", "label"]),
            (
                "profiles: [{name: x, matchLabels: {a: b}, user: \"it's\"}]",
                ["config.yaml", "profiles[0].user", "example.com/user"],
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(expected.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }
}
