//! A program that runs beside a cluster and is one of its servers to whoever looks at the logs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Cluster;
use super::process::{Server, bound_to_us};

/// A running program. It ends when this is dropped, or with the process.
pub struct Beside(Server);

// === impl Beside ===

impl Beside {
    /// What `find` finds in the log, when it is there.
    ///
    /// # Errors
    /// When the program ends or the time is over without it.
    pub async fn logged<T>(&self, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let probe = || async { find(&fs::read_to_string(self.0.log())?).context("it has not logged that") };
        self.0.ready(LIMIT, probe).await
    }
}

// === impl Cluster ===

impl Cluster {
    /// Starts a program; its log is shown with those of the cluster. Of two that run at a time each needs a name.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_beside(
        &self,
        name: &'static str,
        program: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Beside> {
        let mut command = bound_to_us(program);
        configure(&mut command);
        Ok(Beside(Server::start(name, command, &self.logs())?))
    }
}

/// Our programs listen after milliseconds; two cores may have a compiler to carry.
const LIMIT: Duration = Duration::from_secs(20);
