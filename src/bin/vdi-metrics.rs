//! The server and CLI.

use std::process::ExitCode;

use clap::Parser;
use vdi_metrics::{
    cli::{Cli, Command, render, serve},
    runtime::log,
};

/// More threads than this gain nothing: a review takes microseconds of one.
const MOST_THREADS: usize = 4;

fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    log::init(log);
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "Cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let ring = rustls::crypto::ring::default_provider();
    ring.install_default().map_err(|_| anyhow::anyhow!("a crypto provider is installed already"))?;
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let outcome = match command {
        Command::Serve(args) => runtime.block_on(serve::run(args)),
        Command::Render(args) => render::run(&args),
    };
    // Does not wait for a program that signs in to the cluster and hangs.
    runtime.shutdown_background();
    outcome
}
