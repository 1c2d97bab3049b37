//! The readers of what others write, with mutated inputs: admission with reviews of the API server, the sidecar with reports of
//! the node agent and with the kernel's dumps of sockets, the node agent with cgroups of processes, and the server with termination
//! messages. No input may cause a panic, and each must give a correct result or an error, in bounded memory.
//!
//! If the program is built with the compiler's coverage counters, as by `make fuzz`, an input that reaches new code is kept and
//! mutated further. Without the counters only the seeds are mutated.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "only tests use this crate, and they fail by panicking"
)]

mod cgroups;
mod coverage;
mod dumps;
mod messages;
mod mutate;
mod reports;
mod reviews;
mod target;

use std::path::PathBuf;

pub use target::Report;

/// Checks `inputs` inputs: half are reviews, and an eighth each reports, cgroups, dumps and messages. The same seed gives the same inputs.
///
/// # Errors
/// When a check fails: the file with the input.
///
/// # Panics
/// When that file cannot be written.
pub fn run(inputs: usize, seed: u64) -> Result<[Report; 5], PathBuf> {
    let eighth = inputs / 8;
    Ok([
        target::run(&reviews::Reviews::new(), inputs - 4 * eighth, seed)?,
        target::run(&reports::Reports::new(), eighth, seed)?,
        target::run(&cgroups::Cgroups, eighth, seed)?,
        target::run(&dumps::Dumps, eighth, seed)?,
        target::run(&messages::Messages, eighth, seed)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short run, so that the checks and the mutation are tested without `make fuzz` too.
    #[test]
    fn every_input_passes_the_checks() {
        let reports = run(4000, 1).unwrap_or_else(|file| panic!("{} fails a check", file.display()));
        for report in reports {
            // A mutation is useless if it destroys every input, and also if it destroys none.
            let least = report.inputs as u64 / 100;
            assert!(report.results.iter().all(|(_, count)| *count > least), "{report}");
        }
    }
}
