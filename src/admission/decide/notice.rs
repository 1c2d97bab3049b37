//! Notices: warnings about a pod, in addition to the warning of a skip reason.

use std::fmt;

use crate::admission::pod::UnreadableField;

/// A warning for the client that creates a pod, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice(String);

const PREFIX: &str = "vdi-metrics: ";

/// Maximum length of a warning, as Kubernetes recommends.
const MAX_LENGTH: usize = 120;

impl Notice {
    pub(super) fn new(text: fmt::Arguments<'_>) -> Self {
        Self(format!("{PREFIX}{text}"))
    }

    pub(in crate::admission) fn unreadable(field: &UnreadableField) -> Self {
        Self(format!("{PREFIX}{}", field.text(MAX_LENGTH - PREFIX.len())))
    }

    pub(super) fn invalid_value(key: &str, value: &str, remedy: &str) -> Self {
        let value: String = value.escape_default().take(16).collect();
        Self::new(format_args!("{key} is \"{value}\": {remedy}; the default is used"))
    }

    pub(super) fn unknown_key(kind: &str, key: &str) -> Self {
        let key: String = key.escape_default().take(64).collect();
        Self::new(format_args!("unknown {kind} {key}; is it a typo?"))
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
