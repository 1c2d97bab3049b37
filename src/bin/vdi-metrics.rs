//! The server and CLI.

use std::{
    io::{stderr, stdin, stdout},
    process::ExitCode,
};

use clap::Parser;
use tracing::Level;
use vdi_metrics::{
    cli::{Cli, Command, Streams, serve},
    runtime::log,
};

/// More threads than this gain nothing: a review takes microseconds of one.
const MOST_THREADS: usize = 4;

fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    match command {
        Command::Serve(args) => {
            log::init(log.unwrap_or(Level::INFO));
            server(args)
        }
        Command::Verb(verb) => {
            log::init(log.unwrap_or(Level::ERROR));
            let (mut stdin, mut stdout, mut stderr) = (stdin().lock(), stdout().lock(), stderr());
            verb.run(&mut Streams { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr })
        }
    }
}

fn server(args: serve::Args) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "Cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: serve::Args) -> anyhow::Result<()> {
    let ring = rustls::crypto::ring::default_provider();
    ring.install_default().map_err(|_| anyhow::anyhow!("a crypto provider is installed already"))?;
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let outcome = runtime.block_on(serve::run(args));
    // Does not wait for a program that signs in to the cluster and hangs.
    runtime.shutdown_background();
    outcome
}
