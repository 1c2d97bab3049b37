//! `vdi-metrics render`: what the server would make of its configuration.

use std::path::PathBuf;

use super::{Streams, manifest};
use crate::admission::{Injector, Settings, policy};

/// Arguments of `render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the same injection as MutatingAdmissionPolicy and bindings, for Kubernetes 1.36 and newer
    #[arg(long)]
    policy: bool,
    /// The server's configuration file; without it the defaults are shown
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Writes the configuration in effect, with every default in it, or what can stand in for the server.
pub(super) fn run(args: &Args, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let settings = args.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let text = if args.policy { policy(settings)? } else { manifest::to_yaml(&settings)? };
    Ok(streams.stdout.write_all(text.as_bytes())?)
}

fn policy(settings: Settings) -> anyhow::Result<String> {
    let documents = policy::render(&Injector::new(settings));
    let documents = documents.iter().map(manifest::to_yaml).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{}{}", policy::NOTICE, documents.join("---\n")))
}
