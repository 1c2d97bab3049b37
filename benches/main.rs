//! What admission costs, beside what else could be used, and what the sidecar takes. What is measured, and how, stands in
//! `benches/README.md`.
//!
//! `cargo bench --bench cost -- [sidecar] [start] [in-process] [over-tls] [load]`: those parts, or all.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the tables are what this program is for"
)]

mod client;
mod in_process;
mod load;
mod over_tls;
mod servers;
mod sidecar;
mod start;
mod table;

use std::process::ExitCode;

use kit::cluster;
use table::Aim;

/// Measures, prints and says what aims it speaks of.
type Part = fn() -> anyhow::Result<Vec<Aim>>;

/// The parts, in the order in which they run.
const PARTS: &[(&str, Part)] = &[
    ("sidecar", sidecar::measure),
    ("start", start::measure),
    ("in-process", in_process::measure),
    ("over-tls", over_tls::measure),
    ("load", load::measure),
];

fn main() -> ExitCode {
    // Of these parts one alone runs itself again.
    if !cluster::is_first_process() {
        return cluster::isolated(|| told(start::inside())).unwrap_or_else(|error| told(Err(error)));
    }
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        eprintln!("{unknown}: not one of {:?}", PARTS.iter().map(|(part, _)| part).collect::<Vec<_>>());
        return ExitCode::FAILURE;
    }
    let mut aims = vec![];
    for (name, measure) in
        PARTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        match measure() {
            Ok(found) => aims.extend(found),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    table::print_aims(&aims);
    ExitCode::SUCCESS
}

fn told(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
