//! The command line: one module per verb.

pub mod render;
pub mod serve;

use clap::{Parser, Subcommand};

use crate::contract;

/// Per-session GPU and lifetime metrics for virtual desktops on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "vdi-metrics", version, args_override_self = true)]
pub struct Cli {
    /// error, warn, info, debug or trace
    #[arg(long, global = true, env = contract::env::LOG, default_value = "info")]
    pub log: tracing::Level,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server: admit pods, count sessions
    Serve(serve::Args),
    /// Print what the configuration comes to
    Render(render::Args),
}
