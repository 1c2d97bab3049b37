//! Calculates busy seconds from the driver's samples. Pure.

use std::ops::AddAssign;

use crate::{gpu::Sample, sampling::bounds};

/// Work of a device, from samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct SampledWork {
    /// Busy seconds.
    pub(super) busy: f64,
    /// Seconds that the samples cover.
    pub(super) covered: f64,
    /// Seconds without a usable sample: the driver has discarded the sample because its buffer was full, or the ratio of the
    /// sample is impossible.
    pub(super) lost: f64,
    /// Seconds from the newest sample of the last reading to the newest sample of this reading. The driver has recorded nothing
    /// in the seconds that are neither covered nor lost.
    pub(super) span: f64,
    /// Number of samples with a ratio outside 0 to 1.
    pub(super) out_of_range: usize,
}

/// Maximum spacing of two samples, as a multiple of the median spacing. With a larger spacing, samples between the two are
/// missing. The later sample then covers only the median spacing.
const MAX_SPACINGS: u64 = 4;

/// Maximum time of one sample, in microseconds, if the spacing is not known. The driver's measuring window is not longer.
const MAX_WINDOW: u64 = 1_000_000;

/// The samples by time, with one sample for each time.
pub(super) fn in_order(samples: &[Sample]) -> Vec<Sample> {
    let mut samples = samples.to_vec();
    samples.sort_by_key(|sample| sample.at);
    samples.dedup_by_key(|sample| sample.at);
    samples
}

/// Adds up the samples after `since`. Each sample covers the time since the sample before it. `samples` is the result of
/// [`in_order`] for the driver's entire buffer. `is_cut` says whether the driver has discarded samples after `since`.
pub(super) fn integral(samples: &[Sample], since: u64, is_cut: bool) -> SampledWork {
    let first = samples.partition_point(|sample| sample.at <= since);
    let Some(newest) = samples[first..].last() else { return SampledWork::default() };
    let median = median(samples);
    let mut work = SampledWork { span: seconds(newest.at - since), ..SampledWork::default() };
    let mut previous = since;
    for sample in &samples[first..] {
        let spacing = sample.at - previous;
        let covered = if spacing > median.saturating_mul(MAX_SPACINGS) { median } else { spacing };
        if is_cut && previous == since {
            work.lost = seconds(spacing - covered);
        }
        let ratio = bounds::ratio(sample.ratio);
        work.out_of_range += usize::from(ratio != Some(sample.ratio));
        match ratio {
            Some(ratio) => {
                work.covered += seconds(covered);
                work.busy += seconds(covered) * ratio;
            }
            None => work.lost += seconds(covered),
        }
        previous = sample.at;
    }
    work
}

/// Median of the spacings; [`MAX_WINDOW`] for a single sample.
fn median(samples: &[Sample]) -> u64 {
    let mut spacings: Vec<u64> = samples.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    spacings.sort_unstable();
    spacings.get(spacings.len() / 2).copied().unwrap_or(MAX_WINDOW)
}

fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

// === impl SampledWork ===

impl SampledWork {
    /// Scales the work down to `limit` seconds. Samples can cover more time than has passed if the driver's clock runs faster or
    /// was set. `limit` comes from a clock that is never set.
    pub(super) fn within(self, limit: f64) -> Self {
        let covered = self.covered.min(limit);
        let busy = if self.covered > limit { self.busy / self.covered * limit } else { self.busy };
        let span = self.span.min(limit);
        Self { busy, covered, span, lost: self.lost.min(span - covered), ..self }
    }
}

impl AddAssign for SampledWork {
    fn add_assign(&mut self, more: Self) {
        self.busy += more.busy;
        self.covered += more.covered;
        self.lost += more.lost;
        self.span += more.span;
        self.out_of_range += more.out_of_range;
    }
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

    fn of(samples: &[Sample], since: u64) -> SampledWork {
        integral(&in_order(samples), since, true)
    }

    #[test]
    fn consecutive_samples_cover_all_the_time_between() {
        let work = of(&samples(7, 90, 0.5), 6 * 166_667);
        assert!(is_close(work.covered, 15.0) && is_close(work.busy, 7.5), "{work:?}");
        assert!(is_close(work.span, 15.0) && work.lost == 0.0 && work.out_of_range == 0, "{work:?}");
    }

    #[test]
    fn samples_count_once_and_in_any_order() {
        let mut all = samples(1, 12, 1.0);
        all.extend(samples(1, 12, 1.0));
        all.reverse();
        let work = of(&all, 6 * 166_667);
        assert!(is_close(work.busy, 1.0) && is_close(work.covered, 1.0), "{work:?}");
        assert_eq!(of(&all, 12 * 166_667), SampledWork::default());
        assert_eq!(of(&[], 0), SampledWork::default());
    }

    #[test]
    fn a_hole_between_samples_is_not_covered_and_only_discarded_samples_are_lost() {
        let late = samples(361, 120, 1.0);
        let cut = of(&late, 6 * 166_667);
        assert!(is_close(cut.covered, 20.0) && is_close(cut.lost, 59.0), "{cut:?}");
        assert_eq!(integral(&late, 6 * 166_667, false).lost, 0.0);
        let mut hole = samples(1, 60, 1.0);
        hole.extend(samples(181, 60, 1.0));
        let hole = of(&hole, 1);
        assert!(is_close(hole.covered, 20.0) && hole.lost == 0.0, "{hole:?}");
    }

    #[test]
    fn a_single_sample_covers_at_most_the_longest_window_of_a_driver() {
        let single = |at| of(&[Sample { at, ratio: 0.25 }], 1_000_000).covered;
        assert_eq!((single(1_500_000), single(16_000_000)), (0.5, 1.0));
    }

    #[test]
    fn samples_cover_no_more_time_than_has_passed() {
        let hourly: Vec<Sample> =
            (0..4).map(|hour| Sample { at: hour * 3_600_000_000, ratio: 0.5 }).collect();
        let work = of(&hourly, 0);
        assert_eq!((work.busy, work.within(15.0).busy, work.within(15.0).span), (5400.0, 7.5, 15.0));
    }

    #[test]
    fn ratios_out_of_range_are_counted_and_impossible_ones_cover_no_time() {
        let work = of(&samples(1, 6, 1.01), 0);
        assert!(is_close(work.busy, 1.0) && work.out_of_range == 6, "{work:?}");
        for impossible in [1.7, -0.5, 8_083_349.05, f64::NAN] {
            let mut all = samples(1, 12, 0.5);
            all[5].ratio = impossible;
            let work = of(&all, 0);
            assert!(is_close(work.covered, 11.0 / 6.0) && is_close(work.lost, 1.0 / 6.0), "{work:?}");
            assert!(is_close(work.busy, 5.5 / 6.0) && work.out_of_range == 1, "{work:?}");
        }
        let nan = [Sample { at: 1, ratio: f64::NAN }, Sample { at: u64::MAX, ratio: 1.0 }];
        assert!(of(&nan, 0).busy.is_finite());
    }
}
