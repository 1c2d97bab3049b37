//! Histograms.

use serde::{Deserialize, Serialize};

/// Counts of observations by bucket. The bounds of the buckets are not part of the value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observations<const N: usize> {
    /// Observations of each bucket, not cumulative. Observations above the last bound are in no bucket.
    #[serde(with = "buckets")]
    pub buckets: [u64; N],
    /// Number of all observations.
    pub count: u64,
    /// Sum of all observations.
    pub sum: u64,
}

// === impl Observations ===

impl<const N: usize> Observations<N> {
    pub(in crate::sessions::ledger) fn observe(&mut self, bounds: &[f64; N], value: u64) {
        if let Some(bucket) = bounds.iter().position(|bound| value as f64 <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }
}

impl<const N: usize> Default for Observations<N> {
    fn default() -> Self {
        Self { buckets: [0; N], count: 0, sum: 0 }
    }
}

/// Serde has no arrays of any length.
mod buckets {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer, const N: usize>(
        buckets: &[u64; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        buckets.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u64; N], D::Error> {
        let buckets = Vec::deserialize(deserializer)?;
        let found = buckets.len();
        buckets.try_into().map_err(|_| D::Error::invalid_length(found, &"the number of buckets"))
    }
}
