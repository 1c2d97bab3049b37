//! The clock of the ledger.

use super::ledger::UnixTime;
use crate::runtime::clock;

/// The current time.
pub(super) fn now() -> UnixTime {
    UnixTime(i64::try_from(clock::unix_now().as_secs()).unwrap_or(i64::MAX))
}
