//! The time of the API.

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01 UTC. Kubernetes' own times have the same resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub i64);
