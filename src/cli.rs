//! The command line, with one module for each verb. `serve` is the server; the other verbs work on files with the server's
//! admission code.

mod cluster_state;
mod completions;
mod explain;
mod files;
mod inject;
mod manifest;
mod pod;
mod render;
mod rewrite;
pub mod serve;
mod streams;
mod uninject;
mod workload;

pub use files::documents;
pub use streams::Streams;

use std::{io::ErrorKind, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::contract;

/// Per-session GPU and lifetime metrics for virtual desktops on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "vdi-metrics", version, args_override_self = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// Log level: error, warn, info, debug or trace. Default: info for serve, error for the other verbs
    #[arg(long, global = true, value_name = "LEVEL", env = contract::env::LOG)]
    pub log: Option<tracing::Level>,
    /// The verb and its arguments.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 success; 1 failure; 2 wrong arguments; 3 explain: at least one pod would not be injected,
or cannot be read.

To run this program as `kubectl vdi-metrics`, copy it into a folder of PATH under the name kubectl-vdi_metrics.";

/// The server or a verb that works on files.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server: decide on new pods and count sessions
    Serve(serve::Args),
    /// A verb that needs no server.
    #[command(flatten)]
    Verb(Verb),
}

/// The verbs that work on files.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add the sidecar to pods and pod templates in files, as the server would
    #[command(after_help = inject::AFTER_HELP)]
    Inject(inject::InjectArgs),
    /// Remove the sidecar from pods and pod templates in files
    #[command(after_help = uninject::AFTER_HELP)]
    Uninject(uninject::UninjectArgs),
    /// Show whether pods in files would be injected, which rule decides, and what would be added
    #[command(after_help = explain::AFTER_HELP)]
    Explain(explain::ExplainArgs),
    /// Print the configuration with all defaults, or a MutatingAdmissionPolicy that injects the same sidecar
    Render(render::RenderArgs),
    /// Print shell completions
    Completions(completions::CompletionsArgs),
}

/// Exit code of `explain` if a pod would not be injected.
const NOT_INJECTED: u8 = 3;

// === impl Verb ===

impl Verb {
    /// Runs the verb and reports an error on standard error.
    pub fn run(&self, streams: &mut Streams<'_>) -> ExitCode {
        let result = match self {
            Self::Inject(args) => inject::run(args, streams),
            Self::Uninject(args) => uninject::run(args, streams),
            Self::Render(args) => render::run(args, streams),
            Self::Completions(args) => completions::run(args, &mut Cli::command(), streams),
            Self::Explain(args) => match explain::run(args, streams) {
                Ok(false) => return ExitCode::from(NOT_INJECTED),
                result => result.map(|_| ()),
            },
        };
        result.map_or_else(|error| report_error(&error, streams), |()| ExitCode::SUCCESS)
    }
}

fn report_error(error: &anyhow::Error, streams: &mut Streams<'_>) -> ExitCode {
    // The reader has closed the pipe, as in `vdi-metrics inject ... | head`. This is no failure.
    let is_closed =
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe);
    if is_closed {
        return ExitCode::SUCCESS;
    }
    _ = writeln!(streams.stderr, "error: {error:#}");
    ExitCode::FAILURE
}
