//! The clock of the ledger.

use super::ledger::UnixTime;
use crate::runtime::clock;

/// The current time.
pub(super) fn now() -> UnixTime {
    UnixTime(clock::unix_seconds())
}
