//! The system clock.

use std::time::{Duration, SystemTime};

/// The duration from 1970-01-01 UTC to the current time.
#[must_use]
pub fn unix_now() -> Duration {
    unix_time(SystemTime::now())
}

/// The current Unix time in seconds.
#[must_use]
pub fn unix_seconds() -> i64 {
    i64::try_from(unix_now().as_secs()).unwrap_or(i64::MAX)
}

/// The duration from 1970-01-01 UTC to `time`; zero for an earlier time.
#[must_use]
pub fn unix_time(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
