//! The configuration in force: the file as it was last read whole and sound. A mounted file changes by a swap of links, so
//! its content is compared every few seconds; a watch on the file would not see that.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::{Injector, Settings, metrics::Metrics};

/// What is in force, shared between the one who reads the file and those who admit.
#[derive(Debug, Clone)]
pub struct Configuration {
    injector: Arc<ArcSwap<Injector>>,
    metrics: Metrics,
}

/// Time between two looks at the file. The kubelet itself takes up to a minute to change a mounted one.
const LOOK: Duration = Duration::from_secs(2);

// === impl Configuration ===

impl Configuration {
    /// Puts the first settings in force.
    #[must_use]
    pub fn new(settings: Settings, metrics: Metrics) -> Self {
        metrics.configured();
        Self { injector: Arc::new(ArcSwap::from_pointee(Injector::new(settings))), metrics }
    }

    /// What is in force now.
    #[must_use]
    pub fn injector(&self) -> Arc<Injector> {
        self.injector.load_full()
    }

    /// Puts every sound change of the file in force, for as long as it is polled. A bad change is said once and shown in a
    /// metric, and what was in force stays.
    pub async fn follow(self, path: PathBuf) {
        let mut last = Ok(self.injector.load().settings().clone());
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Settings::read(&path).map_err(|error| error.to_string());
            if now == last {
                continue;
            }
            match &now {
                Ok(settings) => self.put_in_force(settings.clone()),
                Err(error) => {
                    tracing::error!(error, "Cannot use the changed configuration, keeping the last good one");
                    self.metrics.misconfigured();
                }
            }
            last = now;
        }
    }

    fn put_in_force(&self, settings: Settings) {
        let injector = Injector::new(settings);
        tracing::info!(config = injector.hash(), "Configuration changed");
        self.injector.store(Arc::new(injector));
        self.metrics.configured();
    }
}
