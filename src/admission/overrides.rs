//! What one pod's annotations ask for, and what is wrong with them. A bad value is named and the default used: no desktop
//! waits for a typing error.

use std::fmt;

use super::{
    pod::{Map, Pod},
    quantity::Quantity,
    settings::{self, GpuAccess, LEAST_MEMORY, Mode},
};
use crate::contract::{ALLOWED_INTERVAL_SECONDS, key};

/// What the pod asks for instead of the configured values.
#[derive(Debug, Default)]
pub(super) struct Overrides<'p> {
    pub(super) port: Option<u16>,
    pub(super) interval: Option<u64>,
    pub(super) cpu: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
    pub(super) image: Option<&'p str>,
    pub(super) mode: Option<Mode>,
    pub(super) gpu_access: Option<GpuAccess>,
}

/// Something to tell the creator of a pod that is given the sidecar all the same; one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice(String);

/// Keys that pods carry for other purposes than an override.
const OTHERS: [&str; 11] = [
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

/// Notices that a pod gets at most. The API server cuts warnings short once they pass 4,096 characters.
const MOST_NOTICES: usize = 8;

// === impl Overrides ===

impl<'p> Overrides<'p> {
    /// Reads the pod's annotations, and adds what is wrong with the keys of our prefix.
    pub(super) fn read(pod: &'p Pod<'_>, notices: &mut Vec<Notice>) -> Self {
        let mut overrides = Self::default();
        for (key, value) in ours(pod.annotations()) {
            notices.extend(overrides.set(key, value));
        }
        for (key, value) in ours(pod.labels()) {
            notices.extend(misplaced(key, value));
        }
        notices.truncate(MOST_NOTICES);
        overrides
    }

    fn set(&mut self, key: &str, value: &'p str) -> Option<Notice> {
        let (understood, remedy) = match key {
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
                self.cpu = Quantity::parse(value).filter(|cpu| cpu.is_positive());
                (self.cpu.is_some(), "use a quantity such as 100m")
            }
            key::MEMORY => {
                self.memory = Quantity::parse(value).filter(|memory| *memory >= LEAST_MEMORY);
                (self.memory.is_some(), "use 16Mi or more")
            }
            key::IMAGE => {
                self.image = Some(value).filter(|image| settings::is_image(image));
                (self.image.is_some(), "name an image")
            }
            key::MODE => {
                self.mode = word(value, &[("native", Mode::Native), ("container", Mode::Container)]);
                (self.mode.is_some(), "use native or container")
            }
            key::GPU_ACCESS => {
                self.gpu_access = word(value, &ACCESSES);
                (self.gpu_access.is_some(), "use auto, claims, runtime or none")
            }
            key::INJECT => return wrong_word(key, value),
            _ if OTHERS.contains(&key) => return None,
            _ => return Some(Notice::unknown(key)),
        };
        (!understood).then(|| Notice::bad(key, value, remedy))
    }
}

const ACCESSES: [(&str, GpuAccess); 4] = [
    ("auto", GpuAccess::Auto),
    ("claims", GpuAccess::Claims),
    ("runtime", GpuAccess::Runtime),
    ("none", GpuAccess::None),
];

fn ours<'p>(map: Option<&'p Map<'_>>) -> impl Iterator<Item = (&'p str, &'p str)> {
    let ours = map.into_iter().flat_map(Map::iter).filter(|(key, _)| key.starts_with(key::PREFIX));
    ours.map(|(key, value)| (key, value.as_str()))
}

/// A label is read for the opt-in and the identity only.
fn misplaced(key: &str, value: &str) -> Option<Notice> {
    match key {
        key::INJECT => wrong_word(key, value),
        key::STATUS | key::CONFIG | key::RESTORE => Some(Notice::unknown(key)),
        key::GPU
        | key::GPU_SHARING
        | key::PORT
        | key::INTERVAL
        | key::CPU
        | key::MEMORY
        | key::IMAGE
        | key::MODE
        | key::GPU_ACCESS => {
            Some(Notice::line(format_args!("label {key} has no effect: make it an annotation")))
        }
        _ if OTHERS.contains(&key) => None,
        _ => Some(Notice::unknown(key)),
    }
}

fn wrong_word(key: &str, value: &str) -> Option<Notice> {
    let known = [key::ENABLED, key::DISABLED].contains(&value);
    (!known).then(|| Notice::bad(key, value, "use enabled or disabled"))
}

fn word<T: Copy>(value: &str, words: &[(&str, T)]) -> Option<T> {
    words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning)
}

// === impl Notice ===

impl Notice {
    pub(super) fn line(text: fmt::Arguments<'_>) -> Self {
        Self(format!("vdi-metrics: {text}"))
    }

    fn bad(key: &str, value: &str, remedy: &str) -> Self {
        let value: String = value.escape_default().take(16).collect();
        Self::line(format_args!("{key} is \"{value}\": {remedy}; the default is used"))
    }

    fn unknown(key: &str) -> Self {
        let key: String = key.escape_default().take(64).collect();
        Self::line(format_args!("nobody reads {key}: is it a typing error?"))
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
