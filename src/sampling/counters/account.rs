//! The account of one device: its allocated seconds and the sums of its readings.

use std::time::{Duration, Instant};

use super::{idle::IdleSeconds, sample_log::SampleLog, tally::count};
use crate::{
    gpu::Sample,
    sampling::scope::{ByScope, Scope},
};

/// Sums for one device since the program started. `Account::add` (in `reading.rs`) adds a reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// UUID of the device.
    pub gpu: String,
    /// Seconds for which the device was allocated; none if it was never allocated.
    pub allocated: Option<f64>,
    /// Seconds of `allocated` that no sample of the driver covers.
    pub unsampled: f64,
    /// Seconds of `allocated` in which no viewer used the device. None if it was never known at the same time whether a viewer was
    /// connected and how much the device was used.
    pub idle: Option<IdleSeconds>,
    /// Seconds in which the device was busy.
    pub busy: ByScope<f64>,
    /// Energy of the card in joules.
    pub energy: ByScope<f64>,
    /// Part of `energy` of the time in which the card was idle, an estimate in joules. On a shared card no session has caused it.
    pub idle_energy: ByScope<f64>,
    /// Energy in joules that is attributed to the session: on a card that is not shared all its energy, otherwise an estimate from
    /// the session's part of the card's time. None if this part was never measured.
    pub attributed: Option<f64>,
    /// Maximum number of bytes of the frame buffer in use at a reading.
    pub peak: ByScope<u64>,
    /// Number of faults of the card by Xid number. The entry with the number `None` counts faults without a number, and faults
    /// with a new number once the list has 16 entries (`MAX_XIDS`).
    pub xids: Vec<(Option<u64>, u64)>,
    /// Scope of the totals in the termination message: normally `device_scope`. On a shared device `Session` from the first
    /// measurement of the session's own work until `device_scope` changes. None before the first reading of the allocated device.
    pub scope: Option<Scope>,
    /// Scope of the values of the device itself at the last reading while the device was allocated. None before it.
    pub(super) device_scope: Option<Scope>,
    /// Time up to which `allocated` is counted; none while the device is not allocated.
    counted_until: Option<Instant>,
    /// Allocated seconds since the last reading.
    pub(super) since_reading: f64,
    /// Part of `since_reading` that [`Self::mark_unsampled`] has added to `unsampled`. The next reading does not add it again.
    pub(super) marked_unsampled: f64,
    /// None if there was no reading since the last [`Self::release`].
    pub(super) last: Option<LastReading>,
    /// Frame buffer of the device in bytes, from the last reading that has it.
    pub(super) total_memory: Option<u64>,
    pub(super) samples: SampleLog,
}

/// The parts of the last reading that the next one needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LastReading {
    pub(super) at: Instant,
    /// Time after which samples of processes are not counted yet, in microseconds of the driver's clock. 0 if the driver has no
    /// sample.
    pub(super) process_sample: u64,
    /// Energy counter of the card in millijoules, and the time at which it was read; none if it was never read.
    pub(super) energy: Option<(u64, Instant)>,
    /// Whether a viewer was connected; none if it was not known.
    pub(super) has_viewer: Option<bool>,
}

/// Maximum number of different Xid numbers of one card, so that the driver cannot fill the memory.
pub(super) const MAX_XIDS: usize = 16;

// === impl Account ===

impl Account {
    /// The account of a device that is not allocated yet.
    #[must_use]
    pub fn new(gpu: &str) -> Self {
        Self { gpu: gpu.to_owned(), ..Self::default() }
    }

    /// Whether the device is allocated.
    #[must_use]
    pub fn is_allocated(&self) -> bool {
        self.counted_until.is_some()
    }

    /// Time of the newest sample at the last reading, of the device or of the session's own processes, in microseconds of the
    /// driver's clock; 0 without one. The driver returns the mean of the time since then (`nvtop#91`). Processes that do not work have no
    /// samples: after the time of their last one alone, the mean would include the time in which they did not work.
    #[must_use]
    pub fn newest_process_sample(&self) -> u64 {
        self.last.map_or(0, |last| last.process_sample)
    }

    /// Keeps samples that were read between two readings. The next reading counts them, because it checks that this is still the
    /// same device.
    pub fn keep_samples(&mut self, samples: &[Sample]) {
        self.samples.add(samples);
    }

    /// Discards the samples that were read since the last reading.
    pub fn discard_samples(&mut self) {
        self.samples.discard();
    }

    /// Time that the driver's buffer of samples covers; none if the buffer was not full at the last answer.
    #[must_use]
    pub fn buffered_time(&self) -> Option<Duration> {
        self.samples.covers()
    }

    /// Seconds between the last reading and a reading at `now`; none if there was no reading. For an allocated device these are
    /// the allocated seconds, so that no total exceeds `allocated`.
    pub(super) fn gap(&self, now: Instant) -> Option<f64> {
        let since = |last: LastReading| now.saturating_duration_since(last.at).as_secs_f64();
        self.last.map(|last| if self.is_allocated() { self.since_reading } else { since(last) })
    }

    /// Allocates the device. The first call starts to count at `now` and discards the last reading, because that reading was not
    /// for this session. Each later call adds the time since the call before. A time before the last one adds nothing.
    pub fn allocate(&mut self, now: Instant) {
        if !self.is_allocated() {
            self.release();
            // A peak with the scope `Node` is from before the allocation.
            self.peak.remove(Scope::Node);
        }
        let start = self.counted_until.unwrap_or(now);
        let seconds = now.saturating_duration_since(start).as_secs_f64();
        *self.allocated.get_or_insert_default() += seconds;
        self.since_reading += seconds;
        self.counted_until = Some(now.max(start));
    }

    /// Counts the time up to `now` as allocated and unsampled, for a poll in which the driver did not answer. Counts nothing if
    /// the device is not allocated.
    pub fn carry_over(&mut self, now: Instant) {
        self.discard_samples();
        if self.is_allocated() {
            self.allocate(now);
            self.mark_unsampled();
        }
    }

    /// Ends the allocation. The last reading stays, because the device is still read for the totals of the node.
    pub fn show_only(&mut self) {
        self.counted_until = None;
    }

    /// Ends the allocation and discards the last reading. The sums stay.
    pub fn release(&mut self) {
        (self.counted_until, self.last) = (None, None);
        self.samples = SampleLog::default();
        (self.since_reading, self.marked_unsampled) = (0.0, 0.0);
    }

    /// Counts the allocated time since the last reading as unsampled. If later samples cover this time, `unsampled` is not
    /// reduced, because a counter must not fall.
    pub fn mark_unsampled(&mut self) {
        self.unsampled += self.since_reading - self.marked_unsampled;
        self.marked_unsampled = self.since_reading;
    }

    /// Counts a fault of the card by its Xid number; none if the driver gave no number.
    pub fn add_xid(&mut self, code: Option<u64>) {
        let is_counted = self.xids.iter().any(|(other, _)| *other == code);
        let is_new_allowed = self.xids.len() < MAX_XIDS;
        count(&mut self.xids, code.filter(|_| is_counted || is_new_allowed));
    }
}
