//! The time in which at least one viewer is connected.

use std::time::{Duration, Instant, SystemTime};

/// Integrates whether a viewer is connected. A viewer counts when two reads have seen it. It connected between two reads and leaves
/// between two reads; half of each of these intervals counts. So the total differs from the truth by less than one interval.
#[derive(Debug, Default)]
pub(super) struct ConnectedTime {
    last: Option<LastRead>,
    connected: Duration,
    first_connected: Option<SystemTime>,
    last_connected: Option<SystemTime>,
    /// Time since which every read has seen a viewer.
    since: Option<SystemTime>,
}

#[derive(Clone, Copy, Debug)]
struct LastRead {
    at: Instant,
    now: SystemTime,
    is_connected: bool,
    /// Half of the interval before this read, if it is not counted yet and a viewer may have connected in it.
    before: Duration,
}

// === impl ConnectedTime ===

impl ConnectedTime {
    /// Adds a read. `is_connected`: whether this read and the read before have seen the same viewer.
    pub(super) fn observe(&mut self, is_connected: bool, at: Instant, now: SystemTime) {
        let mut before = Duration::ZERO;
        if let Some(last) = self.last {
            let interval = at.saturating_duration_since(last.at);
            if is_connected {
                self.connected += interval + last.before;
                self.first_connected.get_or_insert(last.now);
            } else {
                before = interval / 2;
                self.connected += if last.is_connected { before } else { Duration::ZERO };
            }
        }
        if is_connected {
            self.last_connected = Some(now);
            self.since.get_or_insert_with(|| self.last.map_or(now, |last| last.now));
        } else {
            self.since = None;
        }
        self.last = Some(LastRead { at, now, is_connected, before });
    }

    /// The next read is not compared with the last one, because it is unknown whether a viewer is connected now.
    pub(super) fn interrupt(&mut self) {
        (self.last, self.since) = (None, None);
    }

    /// Time since which a viewer has been connected at every read; none if no viewer is connected.
    pub(super) fn since(&self) -> Option<SystemTime> {
        self.since
    }

    /// Connected time, and the first and the last time at which a viewer was seen. The time is known after the first read.
    pub(super) fn totals(&self) -> (Option<Duration>, Option<SystemTime>, Option<SystemTime>) {
        (Some(self.connected), self.first_connected, self.last_connected)
    }
}
