//! The active configuration, which can change at any time.

use std::{fmt, sync::Arc};

use super::ledger::ActiveSettings;

/// Gives the active configuration.
#[derive(Clone)]
pub struct SettingsSource(Arc<dyn Fn() -> ActiveSettings + Send + Sync>);

// === impl SettingsSource ===

impl SettingsSource {
    /// Calls the function whenever the configuration is needed, about each second.
    pub fn new(active: impl Fn() -> ActiveSettings + Send + Sync + 'static) -> Self {
        Self(Arc::new(active))
    }

    pub(super) fn active(&self) -> ActiveSettings {
        (self.0)()
    }
}

impl fmt::Debug for SettingsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.active().fmt(f)
    }
}
