//! `fuzz INPUTS [SEED]`: tries so many reviews and says how it went.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::{env, process::ExitCode, thread};

/// As much as a thread of the server has: what overflows there has to overflow here.
const STACK: usize = 2 << 20;

fn main() -> ExitCode {
    let numbers: Option<Vec<u64>> = env::args().skip(1).map(|argument| argument.parse().ok()).collect();
    let (inputs, seed) = match numbers.as_deref() {
        Some([inputs]) => (*inputs, 1),
        Some([inputs, seed]) => (*inputs, *seed),
        _ => {
            eprintln!("fuzz INPUTS [SEED], two numbers");
            return ExitCode::FAILURE;
        }
    };
    println!("{inputs} inputs from seed {seed} ...");
    let run = thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || fuzz::run(usize::try_from(inputs).unwrap_or(usize::MAX), seed));
    match run.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(report))) => {
            println!("{report}");
            let shortfall = report.shortfall();
            shortfall.map_or(ExitCode::SUCCESS, |shortfall| {
                eprintln!("{shortfall}");
                ExitCode::FAILURE
            })
        }
        Ok(Ok(Err(file))) => {
            eprintln!("Broken by {} (seed {seed})", file.display());
            ExitCode::FAILURE
        }
        other => {
            eprintln!("The run itself failed: {other:?}");
            ExitCode::FAILURE
        }
    }
}
