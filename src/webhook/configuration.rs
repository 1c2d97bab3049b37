//! The active configuration: the last valid content of the configuration file.
//!
//! The kubelet replaces a mounted file by swapping symbolic links. A watch on the file would not see this, so the server
//! compares the content every few seconds.

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;

use super::metrics::WebhookMetrics;
use crate::{
    admission::{Injector, Settings, SettingsError},
    runtime::log::Chain,
};

/// Time between two checks of the file. The kubelet itself takes up to a minute to replace a mounted file.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The active configuration, shared between the task that reloads it and the requests that use it.
#[derive(Debug, Clone)]
pub struct ActiveConfiguration {
    injector: Arc<ArcSwap<Injector>>,
    metrics: WebhookMetrics,
}

/// A configuration file that cannot be used.
#[derive(Debug)]
pub enum ConfigurationError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The content is not valid.
    Invalid(SettingsError),
}

/// Reads a configuration file.
///
/// # Errors
/// Fails if the file cannot be used. The error names the file. For invalid content it also names the line or field.
pub fn read(path: &Path) -> Result<Settings, ConfigurationError> {
    let text =
        fs::read_to_string(path).map_err(|error| ConfigurationError::Unreadable(path.to_owned(), error))?;
    Settings::parse(&text, path).map_err(ConfigurationError::Invalid)
}

/// Reads the configuration file if there is one; otherwise returns the defaults.
///
/// # Errors
/// As [`read`].
pub fn read_or_default(path: Option<&Path>) -> Result<Settings, ConfigurationError> {
    Ok(path.map(read).transpose()?.unwrap_or_default())
}

// === impl ActiveConfiguration ===

impl ActiveConfiguration {
    /// Activates the first settings.
    #[must_use]
    pub fn new(settings: Settings, metrics: WebhookMetrics) -> Self {
        metrics.configuration_loaded();
        Self { injector: Arc::new(ArcSwap::from_pointee(Injector::new(settings))), metrics }
    }

    /// The injector of the active configuration.
    #[must_use]
    pub fn injector(&self) -> Arc<Injector> {
        self.injector.load_full()
    }

    /// Activates every valid change of the file, as long as the future is polled. After an invalid change the previous
    /// configuration stays active; the change is logged once and shown in a metric.
    pub async fn follow(self, path: PathBuf) {
        let mut last = Ok(self.injector.load().settings().clone());
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let now = read(&path).map_err(|error| Chain(&error).to_string());
            if now == last {
                continue;
            }
            match &now {
                Ok(settings) => self.activate(settings.clone()),
                Err(error) => {
                    tracing::error!(
                        error,
                        "Cannot use the changed configuration file; the previous configuration stays active"
                    );
                    self.metrics.configuration_rejected();
                }
            }
            last = now;
        }
    }

    fn activate(&self, settings: Settings) {
        let injector = Injector::new(settings);
        tracing::info!(config = injector.hash(), "Configuration changed");
        self.injector.store(Arc::new(injector));
        self.metrics.configuration_loaded();
    }
}

// === impl ConfigurationError ===

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, _) => write!(f, "cannot read {}", path.display()),
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

impl Error for ConfigurationError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable(_, error) => Some(error),
            Self::Invalid(error) => error.source(),
        }
    }
}
