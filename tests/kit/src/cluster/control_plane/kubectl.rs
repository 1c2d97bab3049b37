//! kubectl of the cluster's version: it applies manifests as shipped and collects the cluster's state after a failure.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cluster::host::output;

/// kubectl with an administrator's kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(super) fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    /// Runs kubectl and returns its standard output.
    ///
    /// # Errors
    /// When kubectl fails: its standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        output(self.command().args(arguments))
    }

    /// Program and arguments, separated by spaces, for scripts that take a command line.
    #[must_use]
    pub fn command_line(&self) -> String {
        let command = self.command();
        let parts = std::iter::once(command.get_program()).chain(command.get_args());
        let parts: Vec<_> = parts.map(|part| part.to_string_lossy()).collect();
        format!("{} --kubeconfig {}", parts.join(" "), self.kubeconfig.display())
    }

    /// Applies the objects of a YAML text.
    ///
    /// # Errors
    /// When the API server rejects an object: its reason.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        let mut command = self.command();
        command.args(["apply", "--server-side", "-f", "-"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("running {}", self.program.display()))?;
        child.stdin.take().context("kubectl has no input")?.write_all(yaml.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("kubectl apply: {}in:\n{yaml}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // kubectl caches discovery in the home folder by default, with the server's address as the key. Isolated clusters share
        // one address.
        let cache = self.kubeconfig.with_file_name("kubectl-cache");
        command.env("KUBECONFIG", &self.kubeconfig).arg("--cache-dir").arg(cache);
        command
    }
}
