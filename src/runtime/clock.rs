//! The system clock.

use std::time::{Duration, SystemTime};

/// The duration from 1970-01-01 UTC to the current time.
#[must_use]
pub fn unix_now() -> Duration {
    unix_time(SystemTime::now())
}

/// The duration from 1970-01-01 UTC to `time`; zero for an earlier time.
#[must_use]
pub fn unix_time(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
