//! Admission under reviews that nobody would write: the goldens' pods and pods at random, mutated. Never a panic, always an
//! answer that an API server takes or a clean refusal, in bounded memory.
//!
//! Built with the compiler's coverage counters, as `make fuzz` does, an input that reaches something new is kept and mutated
//! on. Without them the seeds are all that is mutated.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests use it, and they fail by panicking")]

mod checks;
mod guide;
mod mutate;
mod seeds;

use std::{
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use checks::{Checks, Ending};
use guide::Guide;
use mutate::Random;

/// The law for whole documents is dear: what reaches nothing new is held to it one time in so many.
const WHOLE: usize = 8;

/// Most memory of a run with its corpus, in KiB: what the Deployment allows the server.
const MOST_KIBIBYTES: u64 = 64 << 10;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Inputs tried.
    pub inputs: usize,
    /// Of these: reviews that were answered with a patch, without one, and refused.
    pub endings: [u64; 3],
    /// Inputs that the mutation starts from, seeds included.
    pub corpus: usize,
    /// Places in the program that were reached, of how many; nothing without counters.
    pub reached: Option<(usize, usize)>,
    /// How long it took.
    pub took: Duration,
    /// The most memory that the process held.
    pub peak_kibibytes: u64,
}

/// Tries `inputs` reviews; the same seed makes the same ones.
///
/// # Errors
/// The file with the input that broke the law.
///
/// # Panics
/// Where the file cannot be written.
pub fn run(inputs: usize, seed: u64) -> Result<Report, PathBuf> {
    let (mut random, mut guide, law, began) = (Random(seed), Guide::new(), Checks::new(), Instant::now());
    let (mut corpus, mut report) = (seeds::reviews(&law), Report::default());
    let seeds = corpus.len();
    for number in 0..inputs {
        let input = if number < seeds { corpus[number].clone() } else { random.child(&corpus) };
        guide.begin();
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let (ending, is_news) = (law.judge(&input), guide.is_news());
            if is_news || number % WHOLE == 0 {
                law.judge_whole(&input);
            }
            (ending, is_news)
        }));
        let (ending, is_news) = judged.map_err(|_| saved(&input, seed))?;
        report.endings[ending as usize] += 1;
        // What is refused is mostly no JSON any more, and so would be what comes of it.
        if is_news && number >= seeds && ending != Ending::Refused {
            corpus.push(input);
        }
    }
    Ok(Report {
        inputs,
        corpus: corpus.len(),
        reached: guide.reached(),
        took: began.elapsed(),
        peak_kibibytes: peak_kibibytes(),
        ..report
    })
}

fn saved(input: &[u8], seed: u64) -> PathBuf {
    let file = std::env::temp_dir().join(format!("vdi-metrics-fuzz-{seed}.json"));
    fs::write(&file, input).expect("there is room for the input");
    file
}

fn peak_kibibytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

// === impl Report ===

impl Report {
    /// What a run of the program has to have and this one lacks: guidance, which needs the compiler's help, and memory that is
    /// bounded whatever comes in.
    #[must_use]
    pub fn shortfall(&self) -> Option<String> {
        if self.reached.is_none() {
            return Some(
                "Not guided: build it with RUSTC_WRAPPER=tests/fuzz/instrument, as `make fuzz` does"
                    .to_owned(),
            );
        }
        (self.peak_kibibytes > MOST_KIBIBYTES)
            .then(|| format!("{} KiB held at once, and {MOST_KIBIBYTES} are allowed", self.peak_kibibytes))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, endings: [patched, answered, refused], corpus, reached, took, peak_kibibytes } =
            self;
        let seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a speed to read")]
        let speed = *inputs as f64 / seconds;
        write!(
            f,
            "{inputs} inputs in {seconds:.1} s, {speed:.0}/s: {patched} patched, {answered} answered without, "
        )?;
        write!(f, "{refused} refused; corpus {corpus}; ")?;
        match reached {
            Some((reached, all)) => write!(f, "{reached} of {all} places reached")?,
            None => write!(f, "not guided")?,
        }
        write!(f, "; peak {peak_kibibytes} KiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short run, so that neither the law nor the mutation rots between two long ones.
    #[test]
    fn no_input_breaks_the_law() {
        let report = run(3000, 1).unwrap_or_else(|file| panic!("broken by {}", file.display()));
        // Mutation that spoils every envelope, or none, tries nothing.
        assert!(report.endings.iter().all(|count| *count > 300), "{report}");
    }
}
