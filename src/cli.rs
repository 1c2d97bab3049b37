//! The command line: one module per verb. `serve` is the server; the others work on files with the same admission core.

mod change;
mod completions;
mod explain;
mod inject;
mod manifest;
mod render;
mod selectors;
pub mod serve;
mod surroundings;
mod uninject;
mod workload;

use std::{
    io::{ErrorKind, Read, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::contract;

/// Per-session GPU and lifetime metrics for virtual desktops on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "vdi-metrics", version, args_override_self = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// error, warn, info, debug or trace; by default info for the server, error for the other verbs
    #[arg(long, global = true, env = contract::env::LOG)]
    pub log: Option<tracing::Level>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 something failed, 2 wrong arguments, 3 `explain` found a pod that would not be injected.
As kubectl-vdi_metrics in PATH the same program is `kubectl vdi-metrics`.";

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server: admit pods, count sessions
    Serve(serve::Args),
    /// What needs no server.
    #[command(flatten)]
    Verb(Verb),
}

/// The verbs that work on files.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add the sidecar to pods and pod templates in files, as the server would
    #[command(after_help = inject::AFTER_HELP)]
    Inject(inject::Args),
    /// Take the sidecar out of pods and pod templates in files
    #[command(after_help = uninject::AFTER_HELP)]
    Uninject(uninject::Args),
    /// Say whether pods in files would be injected, which rule decides, and what would be added
    #[command(after_help = explain::AFTER_HELP)]
    Explain(explain::Args),
    /// Show the configuration in effect, or the same injection as a policy
    Render(render::Args),
    /// Write shell completions
    Completions(completions::Args),
}

/// Where a verb reads and writes.
pub struct Streams<'a> {
    /// Standard input.
    pub stdin: &'a mut dyn Read,
    /// Standard output: the result.
    pub stdout: &'a mut dyn Write,
    /// Standard error: the report, and what failed.
    pub stderr: &'a mut dyn Write,
}

/// What `explain` ends with where a pod would not be injected.
const NOT_INJECTED: u8 = 3;

// === impl Verb ===

impl Verb {
    /// Does it.
    pub fn work(&self, streams: &mut Streams<'_>) -> ExitCode {
        let done = match self {
            Self::Inject(args) => inject::run(args, streams),
            Self::Uninject(args) => uninject::run(args, streams),
            Self::Render(args) => render::run(args, streams),
            Self::Completions(args) => completions::run(args, streams),
            Self::Explain(args) => match explain::run(args, streams) {
                Ok(false) => return ExitCode::from(NOT_INJECTED),
                explained => explained.map(|_| ()),
            },
        };
        done.map_or_else(|error| fail(&error, streams), |()| ExitCode::SUCCESS)
    }
}

fn fail(error: &anyhow::Error, streams: &mut Streams<'_>) -> ExitCode {
    // Whoever reads has enough: `vdi-metrics inject ... | head`.
    let is_closed =
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe);
    if is_closed {
        return ExitCode::SUCCESS;
    }
    _ = writeln!(streams.stderr, "error: {error:#}");
    ExitCode::FAILURE
}
