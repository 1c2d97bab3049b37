//! `vdi-metrics completions`: prints shell completions.

use clap_complete::Shell;

use super::streams::Streams;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Writes the completions of `command`.
pub(super) fn run(
    args: &CompletionsArgs,
    command: &mut clap::Command,
    streams: &mut Streams<'_>,
) -> anyhow::Result<()> {
    let mut script = vec![];
    clap_complete::generate(args.shell, command, "vdi-metrics", &mut script);
    Ok(streams.stdout.write_all(&script)?)
}
