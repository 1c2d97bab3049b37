//! Calculates busy seconds from the driver's samples. Pure.

use std::time::Duration;

use crate::gpu::Sample;

/// Work of a device, from one batch of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct SampledWork {
    /// Busy seconds.
    pub(super) busy: f64,
    /// Seconds that the samples cover.
    pub(super) covered: f64,
    /// Seconds between the newest sample of the last batch and the newest sample of this batch. `covered` is less if samples
    /// between them are missing.
    pub(super) span: f64,
    /// Number of samples that were clamped: above 100 % (`HAMi#555`) or below 0.
    pub(super) clamped: u64,
}

/// Maximum spacing of two samples, as a multiple of the median spacing. With a larger spacing, samples between the two are
/// missing, because the driver's buffer was full. The later sample then covers only the median spacing.
const MAX_SPACINGS: u64 = 4;

// === impl SampledWork ===

impl SampledWork {
    /// Scales the work down to `gap` if the samples cover more than 2 * `gap` + 1 s: the wall clock was set forward. `gap` comes
    /// from a clock that is never set.
    pub(super) fn within(self, gap: Duration) -> Self {
        let gap = gap.as_secs_f64();
        if self.covered <= 2.0 * gap + 1.0 {
            return self;
        }
        Self { busy: self.busy / self.covered * gap, covered: gap, span: gap, ..self }
    }
}

/// Adds up the samples after `since`, in microseconds of the node's wall clock. Each sample covers the time since the sample
/// before it; the first one covers the time since `since`. Returns the work and the time of the newest sample, or none if no
/// sample is after `since`.
pub(super) fn integral(samples: &[Sample], since: u64) -> Option<(SampledWork, u64)> {
    let mut samples: Vec<Sample> =
        samples.iter().copied().filter(|sample| sample.at > since && sample.ratio.is_finite()).collect();
    samples.sort_unstable_by_key(|sample| sample.at);
    let newest = samples.last()?.at;
    let previous = |index: usize| if index == 0 { since } else { samples[index - 1].at };
    let spacings: Vec<u64> = (0..samples.len()).map(|index| samples[index].at - previous(index)).collect();
    let median = median(&spacings);
    let mut work = SampledWork { span: (newest - since) as f64 / 1e6, ..SampledWork::default() };
    for (sample, spacing) in samples.iter().zip(spacings) {
        let covered = if spacing > median.saturating_mul(MAX_SPACINGS) { median } else { spacing };
        let seconds = covered as f64 / 1e6;
        let ratio = sample.ratio.clamp(0.0, 1.0);
        work.clamped += u64::from(ratio != sample.ratio);
        work.covered += seconds;
        work.busy += seconds * ratio;
    }
    Some((work, newest))
}

/// Median of the spacings. The first spacing is left out if there are others: if the driver's buffer was full, the oldest
/// samples are lost, so only the first spacing is too long.
fn median(spacings: &[u64]) -> u64 {
    let mut inner = spacings[usize::from(spacings.len() > 1)..].to_vec();
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

    fn is_close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-3
    }

    #[test]
    fn consecutive_samples_cover_all_the_time_between() {
        let (work, newest) = integral(&samples(7, 90, 0.5), 6 * 166_667).unwrap();
        assert!(is_close(work.covered, 15.0) && is_close(work.busy, 7.5), "{work:?}");
        assert_eq!((newest, work.clamped), (96 * 166_667, 0));
    }

    #[test]
    fn samples_count_once_and_in_any_order() {
        let mut all = samples(1, 12, 1.0);
        all.reverse();
        let (work, _) = integral(&all, 6 * 166_667).unwrap();
        assert!(is_close(work.busy, 1.0), "{work:?}");
        assert_eq!(integral(&all, 12 * 166_667), None);
        assert_eq!(integral(&[], 0), None);
    }

    #[test]
    fn a_hole_between_samples_is_not_covered() {
        let late = integral(&samples(360, 120, 1.0), 6 * 166_667).unwrap().0;
        assert!(is_close(late.covered, 20.0), "{late:?}");
        let mut hole = samples(1, 60, 1.0);
        hole.extend(samples(181, 60, 1.0));
        assert!(is_close(integral(&hole, 1).unwrap().0.covered, 20.0));
    }

    #[test]
    fn a_single_sample_covers_all_the_time_since_the_last_batch() {
        let (work, _) = integral(&[Sample { at: 16_000_000, ratio: 0.25 }], 1_000_000).unwrap();
        assert!(is_close(work.covered, 15.0) && is_close(work.busy, 3.75), "{work:?}");
    }

    #[test]
    fn a_clock_that_is_set_forward_adds_no_work() {
        let (work, _) = integral(&[Sample { at: 3_601_000_000, ratio: 0.5 }], 1_000_000).unwrap();
        assert_eq!((work.within(Duration::from_secs(15)).busy, work.busy), (7.5, 1800.0));
    }

    #[test]
    fn ratios_out_of_range_are_clamped_and_counted() {
        let work = integral(&samples(1, 6, 1.7), 0).unwrap().0;
        assert!(is_close(work.busy, 1.0) && work.clamped == 6, "{work:?}");
        let work = integral(&samples(1, 6, -0.5), 0).unwrap().0;
        assert!(work.busy == 0.0 && work.clamped == 6, "{work:?}");
        let nan = [Sample { at: 1, ratio: f64::NAN }, Sample { at: u64::MAX, ratio: 1.0 }];
        assert!(integral(&nan, 0).unwrap().0.busy.is_finite());
    }
}
