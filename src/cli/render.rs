//! `vdi-metrics render`: what the server would make of its configuration.

use std::path::PathBuf;

use super::{Streams, manifest};
use crate::admission::Settings;

/// Arguments of `render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The server's configuration file; without it the defaults are shown
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Writes the configuration in effect, with every default in it.
pub(super) fn run(args: &Args, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let settings = args.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    Ok(streams.stdout.write_all(manifest::to_yaml(&settings)?.as_bytes())?)
}
