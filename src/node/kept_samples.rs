//! Samples that were read between two polls. A driver keeps only the newest samples, and the time that they cover can be shorter than an
//! interval. Pure.

use std::collections::HashMap;

use crate::gpu::Sample;

/// The samples of each device since the last poll, by UUID.
#[derive(Debug, Default)]
pub(super) struct KeptSamples(HashMap<String, Vec<Sample>>);

/// Maximum number of samples of a device: with six samples a second 170 s, and 40 KiB in a report. A report has at most 1 MiB, and a
/// node has at most 16 cards. In a longer interval the oldest samples are discarded.
const MAX_SAMPLES: usize = 1024;

/// Adds the samples in `kept` that are older than all in `samples`, the driver's buffer. If the buffer is empty, the driver has
/// discarded its samples because of a reset, and the kept samples are of no use.
pub(super) fn merge(samples: &mut Vec<Sample>, kept: &[Sample]) {
    let Some(oldest) = samples.iter().map(|sample| sample.at).min() else { return };
    samples.extend(kept.iter().filter(|sample| sample.at < oldest));
}

// === impl KeptSamples ===

impl KeptSamples {
    /// Adds an answer of the driver: all samples in its buffer.
    pub(super) fn add(&mut self, uuid: &str, answer: &[Sample]) {
        let kept = self.0.entry(uuid.to_owned()).or_default();
        let newest = kept.iter().map(|sample| sample.at).max().unwrap_or_default();
        kept.extend(answer.iter().filter(|sample| sample.at > newest));
        kept.sort_unstable_by_key(|sample| sample.at);
        kept.drain(..kept.len().saturating_sub(MAX_SAMPLES));
    }

    /// Removes the samples of a device and returns them.
    pub(super) fn take(&mut self, uuid: &str) -> Vec<Sample> {
        self.0.remove(uuid).unwrap_or_default()
    }

    /// Removes all samples.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(range: std::ops::Range<u64>) -> Vec<Sample> {
        range.map(|at| Sample { at, ratio: 0.5 }).collect()
    }

    #[test]
    fn each_sample_is_kept_once_and_added_to_the_next_answer() {
        let mut kept = KeptSamples::default();
        kept.add("a", &samples(10..20));
        kept.add("a", &samples(15..25));
        kept.add("b", &samples(1..2));
        let mut answer = samples(22..32);
        merge(&mut answer, &kept.take("a"));
        answer.sort_by_key(|sample| sample.at);
        assert_eq!(answer, samples(10..32));
        assert!(kept.take("a").is_empty() && !kept.take("b").is_empty());
    }

    #[test]
    fn the_newest_samples_stay() {
        let mut kept = KeptSamples::default();
        let limit = MAX_SAMPLES as u64;
        (0..3).for_each(|part| kept.add("a", &samples(part * limit..(part + 1) * limit)));
        assert_eq!(kept.take("a"), samples(2 * limit..3 * limit));
    }
}
