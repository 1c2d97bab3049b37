//! The time of the API.

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01 UTC. Kubernetes' own times have the same resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub i64);

// === impl UnixTime ===

impl UnixTime {
    /// Seconds from an earlier time; 0 if that time is later, because clocks differ.
    pub(in crate::sessions) fn seconds_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}
