//! Histograms of seconds.

/// Counts of observations by bucket. The bounds of the buckets are not part of the value.
#[derive(Debug, Clone, PartialEq)]
pub struct SecondsHistogram<const N: usize> {
    /// Observations of each bucket, not cumulative. Observations above the last bound are in no bucket.
    pub buckets: [u64; N],
    /// Number of all observations.
    pub count: u64,
    /// Sum of all observations, in seconds.
    pub sum: f64,
}

// === impl SecondsHistogram ===

impl<const N: usize> SecondsHistogram<N> {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a session are far below 2^52")]
    pub(in crate::sessions::ledger) fn observe(&mut self, bounds: &[f64; N], seconds: i64) {
        let seconds = seconds as f64;
        if let Some(bucket) = bounds.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    pub(in crate::sessions::ledger) fn merge(&mut self, other: &Self) {
        for (bucket, count) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += count;
        }
        self.count += other.count;
        self.sum += other.sum;
    }
}

impl<const N: usize> Default for SecondsHistogram<N> {
    fn default() -> Self {
        Self { buckets: [0; N], count: 0, sum: 0.0 }
    }
}
