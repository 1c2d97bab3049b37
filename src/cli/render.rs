//! `vdi-metrics render`: prints the configuration with all defaults, or the policy that replaces the webhook.

use std::path::PathBuf;

use super::{manifest, streams::Streams};
use crate::{
    admission::{Injector, Settings},
    policy,
    webhook::configuration,
};

/// Arguments of `render`.
#[derive(Debug, clap::Args)]
pub struct RenderArgs {
    /// Print a MutatingAdmissionPolicy with two bindings, to inject without a webhook (Kubernetes 1.36 or newer)
    #[arg(long)]
    policy: bool,
    /// The server's configuration file (YAML). Default: built-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Writes the configuration with every default value, or the policy.
pub(super) fn run(args: &RenderArgs, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let settings = configuration::read_or_default(args.config.as_deref())?;
    let text = if args.policy { policy(settings)? } else { manifest::to_yaml(&settings)? };
    Ok(streams.stdout.write_all(text.as_bytes())?)
}

fn policy(settings: Settings) -> anyhow::Result<String> {
    let documents = policy::render(&Injector::new(settings));
    let documents = documents.iter().map(manifest::to_yaml).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{}{}", policy::NOTICE, documents.join("---\n")))
}
