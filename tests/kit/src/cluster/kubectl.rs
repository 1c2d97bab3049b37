//! The bed's own kubectl: for what is applied as shipped, and for what a person would ask after a failure.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::process::output;

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

    /// Runs it and gives its standard output.
    ///
    /// # Errors
    /// When it fails, with its standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        output(self.command().args(arguments))
    }

    /// Program and arguments as words with spaces between, for scripts that take one.
    #[must_use]
    pub fn command_line(&self) -> String {
        let command = self.command();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        format!("{} --kubeconfig {}", words.join(" "), self.kubeconfig.display())
    }

    /// Applies the objects of a YAML text.
    ///
    /// # Errors
    /// When one is refused, with the API server's reason.
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
            bail!("kubectl apply: {}of:\n{yaml}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Discovery is cached in the home folder otherwise, under the address that every bed shares.
        let cache = self.kubeconfig.with_file_name("kubectl-cache");
        command.env("KUBECONFIG", &self.kubeconfig).arg("--cache-dir").arg(cache);
        command
    }
}
