//! Admission with mutated reviews of the golden pods and of random pods. Admission must never panic. It must give an answer that
//! the API server accepts or an error, in bounded memory.
//!
//! If the program is built with the compiler's coverage counters, as by `make fuzz`, an input that reaches new code is kept and
//! mutated further. Without the counters only the seeds are mutated.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "only tests use this crate, and they fail by panicking"
)]

mod checks;
mod coverage;
mod mutate;
mod seeds;

use std::{
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use checks::{Checks, ReviewResult};
use coverage::Coverage;
use mutate::Random;

/// The check of the patch is slow: of the inputs that reach no new code, only one in this number is checked.
const PATCH_CHECK_INTERVAL: usize = 8;

/// The check with full annotations needs inputs of 256 KiB: only one in this number is checked.
const FULL_CHECK_INTERVAL: usize = 256;

/// Memory limit of a run with its corpus, in KiB: the server's limit in the Deployment.
const MAX_KIBIBYTES: u64 = 64 << 10;

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Number of inputs.
    pub inputs: usize,
    /// Number of reviews with a patch, of reviews without a patch, and of rejected reviews.
    pub results: [u64; 3],
    /// Number of inputs that can be mutated, including the seeds.
    pub corpus: usize,
    /// Number of reached counters and of all counters; `None` without counters.
    pub reached: Option<(usize, usize)>,
    /// Duration of the run.
    pub took: Duration,
    /// Peak resident memory of the process.
    pub peak_kibibytes: u64,
}

/// Checks `inputs` reviews. The same seed gives the same reviews.
///
/// # Errors
/// When a check fails: the file with the input.
///
/// # Panics
/// When that file cannot be written.
pub fn run(inputs: usize, seed: u64) -> Result<Report, PathBuf> {
    let (mut random, mut coverage, checks, began) =
        (Random(seed), Coverage::new(), Checks::new(), Instant::now());
    let (mut corpus, mut report) = (seeds::reviews(&checks), Report::default());
    let seeds = corpus.len();
    for number in 0..inputs {
        let input = if number < seeds { corpus[number].clone() } else { random.child(&corpus) };
        coverage.begin();
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let (result, is_new) = (checks.check_answer(&input), coverage.is_new());
            if is_new || number % PATCH_CHECK_INTERVAL == 0 {
                checks.check_patch(&input);
            }
            if number % FULL_CHECK_INTERVAL == 0 {
                checks.check_full_annotations(&input);
            }
            (result, is_new)
        }));
        let (result, is_new) = checked.map_err(|_| save(&input, seed))?;
        report.results[result as usize] += 1;
        // A rejected input is usually not JSON, and its mutations would not be JSON either.
        if is_new && number >= seeds && result != ReviewResult::Rejected {
            corpus.push(input);
        }
    }
    Ok(Report {
        inputs,
        corpus: corpus.len(),
        reached: coverage.reached(),
        took: began.elapsed(),
        peak_kibibytes: peak_kibibytes(),
        ..report
    })
}

fn save(input: &[u8], seed: u64) -> PathBuf {
    let file = std::env::temp_dir().join(format!("vdi-metrics-fuzz-{seed}.json"));
    fs::write(&file, input).expect("the input can be written");
    file
}

fn peak_kibibytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

// === impl Report ===

impl Report {
    /// Why the run is not valid, if it is not: it had no coverage counters, or it used too much memory.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        if self.reached.is_none() {
            return Some(
                "No coverage counters: build with RUSTC_WRAPPER=tests/fuzz/instrument, as `make fuzz` does"
                    .to_owned(),
            );
        }
        (self.peak_kibibytes > MAX_KIBIBYTES)
            .then(|| format!("Peak memory is {} KiB; the limit is {MAX_KIBIBYTES} KiB", self.peak_kibibytes))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, results: [patched, answered, rejected], corpus, reached, took, peak_kibibytes } =
            self;
        let seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "only printed")]
        let speed = *inputs as f64 / seconds;
        write!(
            f,
            "{inputs} inputs in {seconds:.1} s, {speed:.0}/s: {patched} patched, {answered} not patched, "
        )?;
        write!(f, "{rejected} rejected; corpus {corpus}; ")?;
        match reached {
            Some((reached, all)) => write!(f, "{reached} of {all} counters reached")?,
            None => write!(f, "no coverage counters")?,
        }
        write!(f, "; peak {peak_kibibytes} KiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short run, so that the checks and the mutation are tested without `make fuzz` too.
    #[test]
    fn every_input_passes_the_checks() {
        let report = run(3000, 1).unwrap_or_else(|file| panic!("{} fails a check", file.display()));
        // A mutation is useless if it destroys every envelope, and also if it destroys none.
        assert!(report.results.iter().all(|count| *count > 300), "{report}");
    }
}
