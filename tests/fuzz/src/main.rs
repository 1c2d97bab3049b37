//! `fuzz INPUTS [SEED]`: checks that number of mutated inputs and prints a report for each kind.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::{env, process::ExitCode, thread};

use fuzz::Report;

/// The stack size of a server thread, so that an input that overflows the stack there does so here.
const STACK: usize = 2 << 20;

fn main() -> ExitCode {
    let numbers: Option<Vec<u64>> = env::args().skip(1).map(|argument| argument.parse().ok()).collect();
    let (inputs, seed) = match numbers.as_deref() {
        Some([inputs]) => (*inputs, 1),
        Some([inputs, seed]) => (*inputs, *seed),
        _ => {
            eprintln!("usage: fuzz INPUTS [SEED]; both are numbers");
            return ExitCode::FAILURE;
        }
    };
    println!("{inputs} inputs from seed {seed} ...");
    let run = thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || fuzz::run(usize::try_from(inputs).unwrap_or(usize::MAX), seed));
    match run.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(reports))) => {
            reports.iter().for_each(|report| println!("{report}"));
            reports.iter().find_map(Report::failure).map_or(ExitCode::SUCCESS, |failure| {
                eprintln!("{failure}");
                ExitCode::FAILURE
            })
        }
        Ok(Ok(Err(file))) => {
            eprintln!("{} fails a check (seed {seed})", file.display());
            ExitCode::FAILURE
        }
        other => {
            eprintln!("The run failed: {other:?}");
            ExitCode::FAILURE
        }
    }
}
