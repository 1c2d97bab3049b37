//! Adds up the samples in the driver's buffer over several answers, each sample once. Compares the times of samples only with
//! each other, because the driver's clock is not always the node's wall clock. Pure.

use std::{mem, time::Duration};

use super::integral::{SampledWork, in_order, integral};
use crate::gpu::Sample;

/// The driver's buffer of one device, and the work since the last reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SampleLog {
    /// Time of the newest sample at the last reading. None before the first answer; 0 if the buffer was always empty.
    counted: Option<u64>,
    /// Time of the newest sample at the last answer, as in `counted`. There can be several answers between two readings.
    reached: Option<u64>,
    /// Time of the oldest sample in the last answer; 0 if the buffer was empty.
    oldest: u64,
    /// Number of samples in the largest answer.
    largest: usize,
    /// Time that the buffer covers. None if the buffer was not full at the last answer, or if that answer was discarded.
    covers: Option<Duration>,
    /// Work since the last reading.
    work: SampledWork,
    /// Whether the driver's clock was set back since the last reading.
    is_set_back: bool,
    /// Seconds before the last reading that no sample covers yet. The driver can record samples late.
    pub(super) open: f64,
}

/// What the driver has recorded since the last reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Recorded {
    /// The work according to the samples.
    Work(SampledWork),
    /// The driver keeps samples and has recorded none.
    Nothing,
    /// Unknown, because the call failed or because the driver keeps no samples: its buffer was always empty.
    NoAnswer,
    /// Unknown, because no earlier samples can be compared: this is the first answer, or the clock was set back.
    NotComparable,
}

/// A buffer with fewer samples is not full. Known drivers keep 72 to 120 samples.
const SMALLEST_BUFFER: usize = 64;

// === impl SampleLog ===

impl SampleLog {
    /// Adds an answer of the driver: all samples in its buffer.
    pub(super) fn add(&mut self, answer: &[Sample]) {
        let samples = in_order(answer);
        let is_full = samples.len() >= self.largest.max(SMALLEST_BUFFER);
        let (oldest, newest) = match &samples[..] {
            [] => (0, self.reached.unwrap_or_default()),
            [first, .., last] => (first.at, last.at),
            [only] => (only.at, only.at),
        };
        if let Some(reached) = self.reached {
            // If a sample from before `reached` is still in the buffer, the driver has discarded no later sample.
            self.work += integral(&samples, reached, is_full && oldest > reached);
            let is_older = newest < reached || (newest == reached && oldest < self.oldest);
            self.is_set_back |= is_older && !samples.is_empty();
        }
        self.covers = is_full.then(|| Duration::from_micros(newest - oldest));
        self.largest = self.largest.max(samples.len());
        self.oldest = oldest;
        self.reached = Some(newest);
    }

    /// Ends a reading. `answer` is none if the call failed. Returns what the driver has recorded since the last reading.
    pub(super) fn take(&mut self, answer: Option<&[Sample]>) -> Recorded {
        let is_first = self.counted.is_none();
        answer.into_iter().for_each(|answer| self.add(answer));
        self.counted = self.reached;
        let (work, is_set_back) = (mem::take(&mut self.work), mem::take(&mut self.is_set_back));
        if is_first || is_set_back {
            Recorded::NotComparable
        } else if work.span > 0.0 {
            Recorded::Work(work)
        } else if answer.is_some() && self.largest > 0 {
            Recorded::Nothing
        } else {
            Recorded::NoAnswer
        }
    }

    /// Skips time that was counted without samples, so that later samples do not count it again.
    pub(super) fn skip(&mut self, seconds: f64) {
        let later = |time: u64| time.saturating_add((seconds * 1e6) as u64);
        self.reached = self.reached.map(later);
        self.counted = self.reached;
    }

    /// Discards the answers since the last reading.
    pub(super) fn discard(&mut self) {
        (self.work, self.is_set_back, self.covers) = (SampledWork::default(), false, None);
        self.reached = self.counted;
    }

    /// Time that the buffer covers. None if the buffer was not full at the last answer, or if that answer was discarded.
    pub(super) fn covers(&self) -> Option<Duration> {
        self.covers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of work for each sample in this range of seconds.
    fn seconds(range: std::ops::Range<u64>) -> Vec<Sample> {
        range.map(|second| Sample { at: second * 1_000_000, ratio: 1.0 }).collect()
    }

    fn log(answer: &[Sample]) -> SampleLog {
        let mut log = SampleLog::default();
        assert_eq!(log.take(Some(answer)), Recorded::NotComparable, "the first samples are from before");
        log
    }

    fn busy(recorded: Recorded) -> f64 {
        let Recorded::Work(work) = recorded else { panic!("{recorded:?}") };
        work.busy
    }

    #[test]
    fn answers_between_two_readings_count_once_and_at_the_reading() {
        let mut log = log(&seconds(100..110));
        log.add(&seconds(102..115));
        assert_eq!(busy(log.take(Some(&seconds(105..120)))), 10.0);
        log.add(&seconds(105..125));
        log.discard();
        assert_eq!(busy(log.take(Some(&seconds(112..130)))), 10.0, "discarded answers are read again");
    }

    #[test]
    fn an_empty_buffer_and_an_old_buffer_mean_that_nothing_was_recorded() {
        let mut log = log(&seconds(100..110));
        for answer in [&seconds(100..110)[..], &[], &seconds(105..110)] {
            assert_eq!(log.take(Some(answer)), Recorded::Nothing);
        }
        assert_eq!(
            busy(log.take(Some(&seconds(150..152)))),
            2.0,
            "no sample covers the time without samples"
        );
    }

    #[test]
    fn samples_after_an_empty_buffer_are_counted() {
        let mut log = log(&[]);
        assert_eq!(log.take(Some(&[])), Recorded::NoAnswer);
        let Recorded::Work(work) = log.take(Some(&seconds(150..152))) else { panic!() };
        assert_eq!((work.busy, work.lost), (2.0, 0.0));
    }

    #[test]
    fn only_a_full_buffer_has_lost_samples() {
        let lost = |first: &[Sample], next: &[Sample]| match log(first).take(Some(next)) {
            Recorded::Work(work) => work.lost,
            recorded => panic!("{recorded:?}"),
        };
        assert_eq!(lost(&seconds(0..72), &seconds(100..172)), 28.0);
        assert_eq!(lost(&seconds(0..100), &seconds(110..182)), 0.0, "the buffer has space for more");
        assert_eq!(lost(&seconds(0..72), &seconds(72..144)), 0.0);
        assert_eq!(lost(&[], &seconds(100..112)), 0.0);
    }

    #[test]
    fn a_clock_that_is_set_back_is_recognised() {
        let mut log = log(&seconds(5000..5072));
        // Some samples in the buffer are from before.
        let both = [seconds(1000..1015), seconds(5015..5072)].concat();
        assert_eq!(log.take(Some(&both)), Recorded::NotComparable);
        assert_eq!(log.take(Some(&seconds(1000..1072))), Recorded::NotComparable);
        assert_eq!(busy(log.take(Some(&seconds(1015..1087)))), 15.0);
    }

    #[test]
    fn a_clock_that_is_set_forward_adds_only_the_recorded_time() {
        let mut log = log(&seconds(0..72));
        let both = [seconds(15..76), seconds(4000..4011)].concat();
        let Recorded::Work(work) = log.take(Some(&both)) else { panic!() };
        assert_eq!((work.busy, work.lost), (15.0, 0.0));
    }

    #[test]
    fn time_that_was_counted_without_samples_is_not_counted_again() {
        let mut log = log(&seconds(0..72));
        assert_eq!(log.take(None), Recorded::NoAnswer);
        log.skip(15.0);
        assert_eq!(busy(log.take(Some(&seconds(30..102)))), 15.0);
        assert_eq!(SampleLog::default().take(None), Recorded::NotComparable);
    }

    #[test]
    fn only_a_full_buffer_has_a_length() {
        assert_eq!(log(&seconds(0..72)).covers(), Some(Duration::from_secs(71)));
        assert_eq!(log(&seconds(0..12)).covers(), None);
        let mut discarded = log(&seconds(0..72));
        discarded.discard();
        assert_eq!(discarded.covers(), None, "the device cannot be read");
    }
}
