//! The driver's samples as seconds of work. Pure.

use std::time::Duration;

use crate::gpu::Sample;

/// What a batch of samples says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Work {
    /// Seconds that were worked.
    pub(super) busy: f64,
    /// Seconds that the samples speak of.
    pub(super) covered: f64,
    /// Seconds to the last sample from the last one before: what they could have spoken of.
    pub(super) span: f64,
    /// Samples above 100 % (`HAMi#555`) or below 0.
    pub(super) clamped: u64,
}

/// A sample speaks of the time since the one before it, unless that is more than so many times the usual: then some are
/// missing between them, because nobody came before the driver's buffer was full.
const LONGEST: u64 = 4;

// === impl Work ===

impl Work {
    /// The same, where the samples speak of far more time than has passed: somebody has set the wall clock forward.
    pub(super) fn within(self, passed: Duration) -> Self {
        let passed = passed.as_secs_f64();
        if self.covered <= 2.0 * passed + 1.0 {
            return self;
        }
        Self { busy: self.busy / self.covered * passed, covered: passed, span: passed, ..self }
    }
}

/// The samples after `since`, the time of the last one that was integrated, in microseconds; and the time of their last.
/// None where there are none.
pub(super) fn integral(samples: &[Sample], since: u64) -> Option<(Work, u64)> {
    let mut samples: Vec<Sample> =
        samples.iter().copied().filter(|tick| tick.at > since && tick.ratio.is_finite()).collect();
    samples.sort_unstable_by_key(|tick| tick.at);
    let last = samples.last()?.at;
    let before = |place: usize| if place == 0 { since } else { samples[place - 1].at };
    let spaces: Vec<u64> = (0..samples.len()).map(|place| samples[place].at - before(place)).collect();
    let usual = median(&spaces);
    let mut work = Work { span: (last - since) as f64 / 1e6, ..Work::default() };
    for (tick, space) in samples.iter().zip(spaces) {
        let seconds = if space > usual.saturating_mul(LONGEST) { usual } else { space } as f64 / 1e6;
        let ratio = tick.ratio.clamp(0.0, 1.0);
        work.clamped += u64::from(ratio != tick.ratio);
        work.covered += seconds;
        work.busy += seconds * ratio;
    }
    Some((work, last))
}

/// Without the first space where there are others: it is the one that a full buffer makes long.
fn median(spaces: &[u64]) -> u64 {
    let mut inner = spaces[usize::from(spaces.len() > 1)..].to_vec();
    inner.sort_unstable();
    inner[inner.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples a sixth of a second apart.
    fn samples(from: u64, count: u64, ratio: f64) -> Vec<Sample> {
        (0..count).map(|number| Sample { at: (from + number) * 166_667, ratio }).collect()
    }

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-3
    }

    #[test]
    fn samples_in_a_row_speak_of_all_the_time_between() {
        let (work, last) = integral(&samples(7, 90, 0.5), 6 * 166_667).unwrap();
        assert!(close(work.covered, 15.0) && close(work.busy, 7.5), "{work:?}");
        assert_eq!((last, work.clamped), (96 * 166_667, 0));
    }

    #[test]
    fn what_was_integrated_is_not_again_and_order_does_not_matter() {
        let mut all = samples(1, 12, 1.0);
        all.reverse();
        let (work, _) = integral(&all, 6 * 166_667).unwrap();
        assert!(close(work.busy, 1.0), "{work:?}");
        assert_eq!(integral(&all, 12 * 166_667), None);
        assert_eq!(integral(&[], 0), None);
    }

    #[test]
    fn a_hole_in_the_samples_is_not_covered() {
        let late = integral(&samples(360, 120, 1.0), 6 * 166_667).unwrap().0;
        assert!(close(late.covered, 20.0), "{late:?}");
        let mut hole = samples(1, 60, 1.0);
        hole.extend(samples(181, 60, 1.0));
        assert!(close(integral(&hole, 1).unwrap().0.covered, 20.0));
    }

    #[test]
    fn one_sample_speaks_of_all_since_the_last() {
        let (work, _) = integral(&[Sample { at: 16_000_000, ratio: 0.25 }], 1_000_000).unwrap();
        assert!(close(work.covered, 15.0) && close(work.busy, 3.75), "{work:?}");
    }

    #[test]
    fn a_clock_that_was_set_forward_makes_no_work() {
        let (work, _) = integral(&[Sample { at: 3_601_000_000, ratio: 0.5 }], 1_000_000).unwrap();
        assert_eq!((work.within(Duration::from_secs(15)).busy, work.busy), (7.5, 1800.0));
    }

    #[test]
    fn what_cannot_be_is_clamped_and_counted() {
        let work = integral(&samples(1, 6, 1.7), 0).unwrap().0;
        assert!(close(work.busy, 1.0) && work.clamped == 6, "{work:?}");
        let work = integral(&samples(1, 6, -0.5), 0).unwrap().0;
        assert!(work.busy == 0.0 && work.clamped == 6, "{work:?}");
        let nan = [Sample { at: 1, ratio: f64::NAN }, Sample { at: u64::MAX, ratio: 1.0 }];
        assert!(integral(&nan, 0).unwrap().0.busy.is_finite());
    }
}
