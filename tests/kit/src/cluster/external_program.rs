//! A program that a test runs next to a cluster. Its log is shown together with the logs of the cluster's servers.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};

use super::host::{Server, killed_with_parent};
use super::running::Cluster;

/// A running program. It ends when this value is dropped, and at the latest with the process.
pub struct ExternalProgram(Server);

// === impl ExternalProgram ===

impl ExternalProgram {
    /// Waits until `find` returns a value for the program's log.
    ///
    /// # Errors
    /// When the program ends first or the time is over.
    pub async fn logged<T>(&self, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let probe =
            || async { find(&fs::read_to_string(self.0.log())?).context("the expected log line is missing") };
        self.ready(probe).await
    }

    /// The process ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until the program ends.
    pub async fn end(&self) -> ExitStatus {
        self.0.end().await
    }

    /// Waits until `probe` succeeds.
    ///
    /// # Errors
    /// When the program ends first or the time is over.
    pub async fn ready<T, F>(&self, probe: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.0.ready(LIMIT, probe).await
    }
}

// === impl Cluster ===

impl Cluster {
    /// Starts a program. Programs that run at the same time need different names, because the log is named after them.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start_program(
        &self,
        name: &'static str,
        program: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> Result<ExternalProgram> {
        let mut command = killed_with_parent(program);
        configure(&mut command);
        Ok(ExternalProgram(Server::start(name, command, &self.logs())?))
    }
}

/// The project's programs listen after milliseconds, but two cores may also have to run a compiler.
const LIMIT: Duration = Duration::from_secs(20);
