//! The server and CLI.

use std::{
    io::{stderr, stdin, stdout},
    process::ExitCode,
};

use clap::Parser;
use tracing::Level;
use vdi_metrics::{
    cli::{Cli, Command, Streams},
    runtime::log,
    server::{self, ServerOptions},
};

/// Maximum number of threads. More threads do not make the server faster: a review takes microseconds of one thread.
const MAX_THREADS: usize = 4;

fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    match command {
        Command::Serve(args) => {
            let options = args.options().unwrap_or_else(|error| error.exit());
            log::init(log.unwrap_or(Level::INFO));
            serve(options)
        }
        Command::Verb(verb) => {
            log::init(log.unwrap_or(Level::ERROR));
            let (mut stdin, mut stdout, mut stderr) = (stdin().lock(), stdout().lock(), stderr());
            verb.run(&mut Streams { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr })
        }
    }
}

fn serve(options: ServerOptions) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "The server failed");
            ExitCode::FAILURE
        }
    }
}

fn run(options: ServerOptions) -> anyhow::Result<()> {
    let ring = rustls::crypto::ring::default_provider();
    ring.install_default().map_err(|_| anyhow::anyhow!("a crypto provider is installed already"))?;
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_THREADS));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let result = runtime.block_on(server::run(options));
    // The kubeconfig can name a program that provides credentials. If this program hangs, the exit does not wait for it.
    runtime.shutdown_background();
    result
}
