//! `vdi-metrics render`: what the configuration comes to.

use std::{io::Write, path::PathBuf};

use crate::admission::{Injector, Settings, policy};

/// Arguments of `render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The same injection as MutatingAdmissionPolicy and bindings, for Kubernetes 1.36 and newer
    #[arg(long, required = true)]
    policy: bool,
    /// What the sidecar is like, YAML; without it the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Writes it to standard output.
///
/// # Errors
/// Where the configuration cannot be used.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let settings = args.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let documents = policy::render(&Injector::new(settings));
    let documents = documents.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>()?;
    let text = format!("{}{}", policy::NOTICE, documents.join("---\n"));
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}
