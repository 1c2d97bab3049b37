//! `vdi-metrics completions`: what a shell needs to complete the verbs and options.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Streams};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to write them for
    shell: Shell,
}

/// Writes the completions.
pub(super) fn run(args: &Args, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "vdi-metrics", &mut script);
    Ok(streams.stdout.write_all(&script)?)
}
