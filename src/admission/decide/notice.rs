//! Notices: warnings about a pod that gets the sidecar.

use std::fmt;

/// A warning for the client that creates a pod, in one line. The pod still gets the sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice(String);

impl Notice {
    pub(super) fn new(text: fmt::Arguments<'_>) -> Self {
        Self(format!("vdi-metrics: {text}"))
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
