//! Overrides: annotations of a pod that replace configured values. An invalid value causes a warning and the default is used,
//! so that a typo never blocks a desktop.

use super::notice::Notice;
use crate::{
    admission::{
        pod::{PodView, StringMap},
        quantity::Quantity,
        settings::{self, GpuAccess, MIN_MEMORY, Mode, PresenceSetting},
    },
    contract::{ALLOWED_INTERVAL_SECONDS, key},
};

/// The values that the pod's annotations override.
#[derive(Debug, Default)]
pub(crate) struct Overrides<'p> {
    pub(crate) port: Option<u16>,
    pub(crate) interval: Option<u64>,
    pub(crate) cpu: Option<Quantity>,
    pub(crate) memory: Option<Quantity>,
    pub(crate) image: Option<&'p str>,
    pub(crate) mode: Option<Mode>,
    pub(crate) gpu_access: Option<GpuAccess>,
    pub(crate) presence: Option<PresenceSetting>,
}

/// Keys that override nothing.
const OTHER_KEYS: [&str; 11] = [
    key::GPU,
    key::GPU_SHARING,
    key::INJECT,
    key::INJECTED,
    key::STATUS,
    key::CONFIG,
    key::RESTORE,
    key::SESSION,
    key::TEMPLATE,
    key::USER,
    key::POOL,
];

/// Maximum number of notices for one pod. The API server truncates warnings once they exceed 4,096 characters.
const MAX_NOTICES: usize = 8;

// === impl Overrides ===

impl<'p> Overrides<'p> {
    /// Reads the pod's annotations. Adds a notice for each invalid value and each unknown key under the prefix
    /// `vdi-metrics.io/`.
    pub(crate) fn read(pod: &'p PodView<'_>, notices: &mut Vec<Notice>) -> Self {
        let mut overrides = Self::default();
        for (key, value) in prefixed(pod.annotations()) {
            notices.extend(overrides.set(key, value));
        }
        for (key, value) in prefixed(pod.labels()) {
            notices.extend(check_label(key, value));
        }
        notices.truncate(MAX_NOTICES);
        overrides
    }

    fn set(&mut self, key: &str, value: &'p str) -> Option<Notice> {
        let (is_valid, remedy) = match key {
            key::PORT => {
                self.port = value.parse().ok().filter(|port| settings::is_port(*port));
                (self.port.is_some(), "use 1024 to 65535")
            }
            key::INTERVAL => {
                self.interval =
                    value.parse().ok().filter(|seconds| ALLOWED_INTERVAL_SECONDS.contains(seconds));
                (self.interval.is_some(), "use 5 to 300 seconds")
            }
            key::CPU => {
                self.cpu = Quantity::parse(value).filter(|cpu| cpu.is_positive() && *cpu <= Quantity::MAX);
                (self.cpu.is_some(), "use a quantity such as 100m")
            }
            key::MEMORY => {
                self.memory =
                    Quantity::parse(value).filter(|memory| (MIN_MEMORY..=Quantity::MAX).contains(memory));
                (self.memory.is_some(), "use 16Mi or more")
            }
            key::IMAGE => {
                self.image = Some(value).filter(|image| settings::is_image(image));
                (self.image.is_some(), "name an image")
            }
            key::MODE => {
                self.mode = Mode::parse(value);
                (self.mode.is_some(), "use native or container")
            }
            key::GPU_ACCESS => {
                self.gpu_access = GpuAccess::parse(value);
                (self.gpu_access.is_some(), "use auto, claims, runtime or none")
            }
            key::PRESENCE => {
                self.presence = PresenceSetting::parse(value);
                (self.presence.is_some(), "use auto or off")
            }
            key::INJECT => return check_inject(key, value),
            _ if OTHER_KEYS.contains(&key) => return None,
            _ => return Some(Notice::unknown_key("annotation", key)),
        };
        (!is_valid).then(|| Notice::invalid_value(key, value, remedy))
    }
}

fn prefixed<'p>(map: Option<&'p StringMap<'_>>) -> impl Iterator<Item = (&'p str, &'p str)> {
    let entries = map.into_iter().flat_map(StringMap::iter).filter(|(key, _)| key.starts_with(key::PREFIX));
    entries.map(|(key, value)| (key, value.as_str()))
}

/// Checks a label. Labels opt in or out and contain the identity of the session; they override nothing.
fn check_label(key: &str, value: &str) -> Option<Notice> {
    match key {
        key::INJECT => check_inject(key, value),
        key::STATUS | key::CONFIG | key::RESTORE => Some(Notice::unknown_key("label", key)),
        key::GPU
        | key::GPU_SHARING
        | key::PORT
        | key::INTERVAL
        | key::CPU
        | key::MEMORY
        | key::IMAGE
        | key::MODE
        | key::GPU_ACCESS
        | key::PRESENCE => {
            Some(Notice::new(format_args!("label {key} has no effect: make it an annotation")))
        }
        _ if OTHER_KEYS.contains(&key) => None,
        _ => Some(Notice::unknown_key("label", key)),
    }
}

fn check_inject(key: &str, value: &str) -> Option<Notice> {
    let is_valid = [key::ENABLED, key::DISABLED].contains(&value);
    (!is_valid).then(|| Notice::invalid_value(key, value, "use enabled or disabled"))
}
