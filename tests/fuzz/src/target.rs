//! A run of mutated inputs against one target.

use std::{
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    coverage::Coverage,
    mutate::{Change, Random},
};

/// Code that is tested with mutated inputs.
pub(crate) trait Target {
    /// Name of the inputs, in the report and in the file with an input that fails.
    const NAME: &str;
    /// Names of [`CheckResult::First`] and [`CheckResult::Second`].
    const RESULTS: [&str; 2];
    /// How an input is changed.
    const CHANGE: Change;

    /// The inputs from which the mutation starts.
    fn seeds(&self) -> Vec<Vec<u8>>;

    /// Checks an input. The coverage of this function guides the mutation.
    ///
    /// # Panics
    /// When the check fails.
    fn check(&self, input: &[u8]) -> CheckResult;

    /// Makes the slow checks of an input. `number` is the number of the input, and `is_new` says whether it reached new code.
    ///
    /// # Panics
    /// When a check fails.
    fn check_further(&self, input: &[u8], number: usize, is_new: bool);
}

/// The result for an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckResult {
    First,
    Second,
    /// The input is not valid. It is not mutated further.
    Rejected,
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// Name of the inputs.
    pub name: &'static str,
    /// Number of inputs.
    pub inputs: usize,
    /// Name and number of each result.
    pub results: [(&'static str, u64); 3],
    /// Number of inputs that can be mutated, including the seeds.
    pub corpus: usize,
    /// Number of reached counters and of all counters; `None` without counters.
    pub reached: Option<(usize, usize)>,
    /// Duration of the run.
    pub took: Duration,
    /// Peak resident memory of the process.
    pub peak_kibibytes: u64,
}

/// Memory limit of a run with its corpus, in KiB: the server's limit in the Deployment.
const MAX_KIBIBYTES: u64 = 64 << 10;

/// Checks `inputs` inputs. The same seed gives the same inputs.
///
/// # Errors
/// When a check fails: the file with the input.
pub(crate) fn run<T: Target>(target: &T, inputs: usize, seed: u64) -> Result<Report, PathBuf> {
    let (mut random, mut coverage, began) = (Random(seed), Coverage::new(), Instant::now());
    let mut corpus = target.seeds();
    let [first, second] = T::RESULTS;
    let mut results = [(first, 0), (second, 0), ("rejected", 0)];
    let seeds = corpus.len();
    for number in 0..inputs {
        let input = if number < seeds { corpus[number].clone() } else { random.child(&corpus, T::CHANGE) };
        coverage.begin();
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let (result, is_new) = (target.check(&input), coverage.is_new());
            target.check_further(&input, number, is_new);
            (result, is_new)
        }));
        let (result, is_new) = checked.map_err(|_| save(&input, T::NAME, seed))?;
        results[result as usize].1 += 1;
        // A rejected input usually has another form, and its mutations would have another form too.
        if is_new && number >= seeds && result != CheckResult::Rejected {
            corpus.push(input);
        }
    }
    Ok(Report {
        name: T::NAME,
        inputs,
        results,
        corpus: corpus.len(),
        reached: coverage.reached(),
        took: began.elapsed(),
        peak_kibibytes: peak_kibibytes(),
    })
}

fn save(input: &[u8], name: &str, seed: u64) -> PathBuf {
    let file = std::env::temp_dir().join(format!("vdi-metrics-fuzz-{name}-{seed}"));
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
        let Self { name, inputs, results, corpus, reached, took, peak_kibibytes } = self;
        let seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "only printed")]
        let speed = *inputs as f64 / seconds;
        write!(f, "{inputs} {name} in {seconds:.1} s, {speed:.0}/s: ")?;
        results.iter().try_for_each(|(result, count)| write!(f, "{count} {result}, "))?;
        write!(f, "corpus {corpus}; ")?;
        match reached {
            Some((reached, all)) => write!(f, "{reached} of {all} counters reached")?,
            None => write!(f, "no coverage counters")?,
        }
        write!(f, "; peak {peak_kibibytes} KiB")
    }
}
