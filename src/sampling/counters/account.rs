//! The account of one device: how long the device is allocated, and the sums of its readings.

use std::time::{Duration, Instant};

use super::tally::count;
use crate::sampling::scope::{ByScope, Scope};

/// Sums for one device. `reading` adds the readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// UUID of the device.
    pub gpu: String,
    /// Seconds for which the device was allocated; none if it never was.
    pub allocated: Option<f64>,
    /// Part of the allocated seconds that no sample of the driver covers.
    pub unsampled: f64,
    /// Seconds in which the device was busy.
    pub busy: ByScope<f64>,
    /// Joules that the card used.
    pub energy: ByScope<f64>,
    /// Joules attributed to the session, by its part of the card's work.
    pub attributed: Option<f64>,
    /// Highest number of bytes of the frame buffer in use at a reading.
    pub peak: ByScope<u64>,
    /// Faults of the card by number; none if the driver gives no number or there are too many different ones.
    pub xids: Vec<(Option<u64>, u64)>,
    /// Narrowest scope that was measured at the last reading while the device was allocated.
    pub scope: Option<Scope>,
    /// Scope of the device's own values at the last reading while the device was allocated.
    pub(super) device_scope: Option<Scope>,
    /// End of the counted allocated time; none while the device is not allocated.
    counted_until: Option<Instant>,
    /// Seconds allocated since the last reading.
    pub(super) since_reading: f64,
    /// Part of `since_reading` that is already counted in `unsampled`.
    pub(super) marked_unsampled: f64,
    pub(super) last: Option<LastReading>,
}

/// The parts of the last reading that the next one needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LastReading {
    pub(super) at: Instant,
    pub(super) newest: NewestSamples,
    /// Energy counter of the card in millijoules, and when it was read.
    pub(super) energy: Option<(u64, Instant)>,
}

/// Times of the newest samples at the last reading, in microseconds of the node's wall clock; 0 if there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewestSamples {
    /// Newest sample of the device.
    pub device: u64,
    /// Newest sample of the session's processes on the device.
    pub processes: u64,
}

/// Limit for different fault numbers of a card, so that the driver cannot fill the memory.
pub(super) const MAX_XIDS: usize = 16;

// === impl Account ===

impl Account {
    /// An account of a device that is not allocated yet.
    #[must_use]
    pub fn new(gpu: &str) -> Self {
        Self { gpu: gpu.to_owned(), ..Self::default() }
    }

    /// Whether the device is allocated.
    #[must_use]
    pub fn is_allocated(&self) -> bool {
        self.counted_until.is_some()
    }

    /// Newest samples at the last reading.
    #[must_use]
    pub fn newest_samples(&self) -> NewestSamples {
        self.last.map_or_else(NewestSamples::default, |last| last.newest)
    }

    /// Time between the last reading and `now`.
    pub(super) fn gap(&self, now: Instant) -> Option<Duration> {
        self.last.map(|last| now.saturating_duration_since(last.at))
    }

    /// Allocates the device and counts the time up to `now`. If the device was not allocated before, counting starts now,
    /// and the last reading, which was not for this session, is discarded.
    pub fn allocate(&mut self, now: Instant) {
        if !self.is_allocated() {
            self.release();
            self.peak.remove(Scope::Node);
        }
        let start = self.counted_until.unwrap_or(now);
        let seconds = now.saturating_duration_since(start).as_secs_f64();
        *self.allocated.get_or_insert_default() += seconds;
        self.since_reading += seconds;
        self.counted_until = Some(now);
    }

    /// Counts the time up to `now` as allocated and unsampled, if the device is allocated: the driver did not answer.
    pub fn carry_over(&mut self, now: Instant) {
        if self.is_allocated() {
            self.allocate(now);
            self.mark_unsampled();
        }
    }

    /// Ends the allocation; the device is read further for the totals of the node.
    pub fn show_only(&mut self) {
        self.counted_until = None;
    }

    /// Ends the allocation. The sums stay.
    pub fn release(&mut self) {
        (self.counted_until, self.last) = (None, None);
        (self.since_reading, self.marked_unsampled) = (0.0, 0.0);
    }

    /// Counts the allocated time since the last reading as unsampled. Later samples may cover this time too. `unsampled` is
    /// not reduced then, because a counter must not fall.
    pub fn mark_unsampled(&mut self) {
        self.unsampled += self.since_reading - self.marked_unsampled;
        self.marked_unsampled = self.since_reading;
    }

    /// Counts a fault of the card.
    pub fn add_xid(&mut self, code: Option<u64>) {
        let is_counted = self.xids.iter().any(|(other, _)| *other == code);
        let is_new_allowed = self.xids.len() < MAX_XIDS;
        count(&mut self.xids, code.filter(|_| is_counted || is_new_allowed));
    }
}
