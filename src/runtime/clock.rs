//! The system clock.

use std::time::{Duration, SystemTime};

/// The current time as seconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_now() -> Duration {
    unix_time(SystemTime::now())
}

/// A time as seconds since 1970-01-01 UTC; zero for an earlier time.
#[must_use]
pub fn unix_time(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
