//! The cost of admission compared with other webhooks, and the cost of the sidecar, of the node agent and of the
//! ledger. `benches/README.md`
//! describes each measurement and its results.
//!
//! `cargo bench --bench cost -- [sidecar] [node] [start] [in-process] [over-tls] [hostile] [ledger] [load]` runs the given parts, or all.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, reason = "this program prints tables")]

mod client;
mod hostile;
mod in_process;
mod ledger;
mod load;
mod node;
mod over_tls;
mod presence;
mod program;
mod servers;
mod sidecar;
mod start;
mod table;

use std::process::ExitCode;

use kit::cluster;
use table::Target;

/// Measures, prints a table and returns the results that have a target.
type Part = fn() -> anyhow::Result<Vec<Target>>;

/// The parts, in the order in which they run.
const PARTS: &[(&str, Part)] = &[
    ("sidecar", sidecar::measure),
    ("node", node::measure),
    ("start", start::measure),
    ("in-process", in_process::measure),
    ("over-tls", over_tls::measure),
    ("hostile", hostile::measure),
    ("ledger", ledger::measure),
    ("load", load::measure),
];

fn main() -> ExitCode {
    // Only the part `start` starts this program again.
    if !cluster::is_first_process() {
        return cluster::isolated(|| exit_code(start::inside()))
            .unwrap_or_else(|error| exit_code(Err(error)));
    }
    // The part `ledger` starts this program as a reflector.
    if let Some(result) = ledger::contenders::reflect() {
        return exit_code(result);
    }
    let selected: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = selected.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        eprintln!("{unknown} is not one of {:?}", PARTS.iter().map(|(part, _)| part).collect::<Vec<_>>());
        return ExitCode::FAILURE;
    }
    let mut targets = vec![];
    for (name, measure) in
        PARTS.iter().filter(|(name, _)| selected.is_empty() || selected.iter().any(|part| part == name))
    {
        match measure() {
            Ok(measured) => targets.extend(measured),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    table::print_targets(&targets);
    ExitCode::SUCCESS
}

fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
