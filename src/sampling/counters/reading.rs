//! Adds a reading to the account of its device: seconds, joules and peaks.

use std::time::{Duration, Instant};

use super::{
    account::{Account, LastReading},
    idle::UNUSED_BELOW,
    integral::SampledWork,
    sample_log::Recorded,
    values::{DeviceScopes, ScopedValues},
};
use crate::{
    gpu::Reading,
    sampling::{
        bounds::{Clamp, MAX_WATTS},
        processes::OwnUsage,
        scope::{ByScope, Scope},
    },
};

/// A reading of a device, with what is necessary to add it to an account.
#[derive(Clone, Copy, Debug)]
pub struct DeviceReading<'r> {
    /// Scopes of the values.
    pub scopes: DeviceScopes,
    /// The values, without impossible ones ([`crate::sampling::bounds::remove_impossible`]).
    pub reading: &'r Reading,
    /// Use of the device by the session's own processes; none if it cannot be read.
    pub own: Option<&'r OwnUsage>,
    /// Time at which the device was read.
    pub at: Instant,
    /// Whether a viewer is connected to the desktop at this time; none if it is not known.
    pub has_viewer: Option<bool>,
}

/// A reading while it is added: its input, and the values calculated from it.
struct PendingReading<'r> {
    reading: DeviceReading<'r>,
    /// Seconds since the last reading; 0 if there was no reading.
    gap: f64,
    /// Maximum gap in seconds for which this reading represents the entire gap.
    max_gap: f64,
    clamps: Vec<Clamp>,
    values: ScopedValues,
}

/// Activity of a device since the last reading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Activity {
    /// Seconds in which the device was busy.
    busy: f64,
    /// Busy part of the time, 0 to 1; none if the driver gives neither samples nor a utilisation, or if the gap is too long for
    /// the utilisation.
    ratio: Option<f64>,
    /// Seconds that no sample covers.
    unsampled: f64,
}

/// Maximum length of the driver's measuring window, in seconds. If a driver that reports work has no new sample for the maximum
/// gap and this time, it is treated as a driver that keeps no samples.
const LONGEST_WINDOW: f64 = 1.0;

// === impl Account ===

impl Account {
    /// Adds a reading. Returns the values to publish and the kinds of the values out of range. After a gap of more than
    /// `max_gap`, time without samples counts as idle.
    #[must_use]
    pub fn add(&mut self, reading: DeviceReading<'_>, max_gap: Duration) -> (ScopedValues, Vec<Clamp>) {
        let (gap, max_gap) = (self.gap(reading.at).unwrap_or_default(), max_gap.as_secs_f64());
        let clamps = vec![Clamp::Utilization; reading.own.map_or(0, |own| own.out_of_range)];
        let mut pending = PendingReading { reading, gap, max_gap, clamps, values: ScopedValues::default() };
        self.add_pending(&mut pending);
        (pending.values, pending.clamps)
    }

    /// Adds all values of a reading and stores what the next reading needs.
    fn add_pending(&mut self, pending: &mut PendingReading<'_>) {
        let DeviceReading { scopes, own, at, has_viewer, .. } = pending.reading;
        // Also true at the first reading.
        let scope_changed = self.device_scope != Some(scopes.device);
        if let Some(earlier) = self.device_scope.filter(|_| scope_changed && self.is_allocated()) {
            // The peak of the earlier scope does not apply any more.
            self.peak.remove(earlier);
        }
        let activity = self.activity(pending);
        self.add_activity(activity, pending);
        let own_ratio = self.add_own_work(activity, pending);
        let energy = self.add_energy(own_ratio, activity.ratio, pending);
        self.add_idle(own_ratio.or(activity.ratio), pending);
        pending.set_engines();
        self.add_memory(pending);
        if self.is_allocated() {
            // Once own work was measured, the scope stays `Session` even if the processes have ended. If the scope of the device
            // changes, own work must be measured again.
            let stays_own = self.scope == Some(Scope::Session) && !scope_changed;
            let is_own = own_ratio.is_some() || stays_own;
            self.scope = Some(if is_own { Scope::Session } else { scopes.device });
            self.device_scope = Some(scopes.device);
        }
        let own_sample = own.map_or_else(|| self.newest_process_sample(), |own| own.newest_sample);
        let process_sample = own_sample.max(pending.reading.reading.newest_sample().unwrap_or_default());
        (self.since_reading, self.marked_unsampled) = (0.0, 0.0);
        self.last = Some(LastReading { at, process_sample, energy, has_viewer });
    }

    /// Activity since the last reading. It is calculated from the driver's samples or, if they show nothing about this time, from
    /// the driver's utilisation.
    fn activity(&mut self, pending: &mut PendingReading<'_>) -> Activity {
        let answer = pending.reading.reading.samples.as_deref();
        // Samples that the driver has recorded late may cover time before the last reading. No time may be counted twice.
        let limit = self.samples.open + pending.gap;
        match self.samples.take(answer) {
            Recorded::Work(work) => {
                self.samples.open = (limit - work.span).max(0.0);
                pending.sampled(work.within(limit))
            }
            Recorded::Nothing if !pending.reports_work() || limit <= pending.max_gap + LONGEST_WINDOW => {
                self.samples.open = limit;
                Activity { busy: 0.0, ratio: Some(0.0), unsampled: pending.gap }
            }
            Recorded::NotComparable => pending.window(),
            Recorded::Nothing | Recorded::NoAnswer => {
                // Later samples of this time must not be counted again.
                self.samples.skip(pending.gap);
                pending.window()
            }
        }
    }

    /// Adds the busy and unsampled seconds of the device, and sets its utilisation.
    fn add_activity(&mut self, activity: Activity, pending: &mut PendingReading<'_>) {
        let DeviceReading { scopes, reading, .. } = pending.reading;
        // After a long gap the driver's utilisation does not represent the gap, but it is the current value.
        if let Some(ratio) = activity.ratio.or(reading.utilization) {
            pending.values.utilization.set(scopes.device, ratio);
        }
        if activity.ratio.is_some() {
            self.busy.add(scopes.device, activity.busy);
        }
        if self.is_allocated() {
            // `mark_unsampled` has counted the part `marked_unsampled` already.
            self.unsampled += (activity.unsampled - self.marked_unsampled).max(0.0);
        }
    }

    /// Adds the busy seconds of the session's own processes on a shared device: their part of the busy seconds of the device, so that
    /// all sessions of a device have together at most these. Returns the utilisation of the processes, 0 to 1; none if it was not
    /// measured or if the device is not shared.
    fn add_own_work(&mut self, activity: Activity, pending: &mut PendingReading<'_>) -> Option<f64> {
        let own = pending.own_on_shared()?;
        let device = activity.ratio.or_else(|| pending.values.utilization.get(pending.reading.scopes.device));
        let ratio = own.part_of(device.unwrap_or(1.0))?;
        pending.values.utilization.set(Scope::Session, ratio);
        if let Some(device) = activity.ratio {
            let is_counted = pending.is_timely() && device > 0.0;
            let part = if is_counted { (ratio / device).min(1.0) } else { 0.0 };
            self.busy.add(Scope::Session, activity.busy * part);
        }
        Some(ratio)
    }

    /// Adds the card's energy, its idle part, and the session's part. `own` and `busy` are the utilisation by the session's own
    /// processes and of the device. The idle part is the energy multiplied by the idle part of the time. On a shared card the
    /// session's part is the energy multiplied by `own`: its share `own / busy` of the part that is not idle. So the idle part, the
    /// parts of all sessions and the part of other processes are together the energy of the card. Returns the energy counter in
    /// millijoules and its time, for the next reading.
    fn add_energy(
        &mut self,
        own: Option<f64>,
        busy: Option<f64>,
        pending: &mut PendingReading<'_>,
    ) -> Option<(u64, Instant)> {
        let DeviceReading { scopes, reading, at, .. } = pending.reading;
        let last = self.last.and_then(|last| last.energy);
        let Some(counter) = reading.energy else { return last };
        let joules = last.map_or(0.0, |last| pending.joules(last, counter));
        self.energy.add(scopes.card, joules);
        // The utilisation of a slice is not the card's.
        if let Some(busy) = busy.filter(|_| scopes.card == scopes.device) {
            self.idle_energy.add(scopes.card, joules * (1.0 - busy));
        }
        let part = if scopes.card == Scope::Session { Some(1.0) } else { own.filter(|_| busy.is_some()) };
        if let Some(part) = part {
            *self.attributed.get_or_insert_default() += joules * part;
        }
        Some((counter, at))
    }

    /// Adds the time since the last reading if no viewer used the device. The time counts only if both readings have the same viewers and
    /// if the use of the device is known. `utilization` is that by the session, or that of the device if only this is known.
    fn add_idle(&mut self, utilization: Option<f64>, pending: &PendingReading<'_>) {
        let known = pending.is_used(utilization).zip(pending.reading.has_viewer);
        let Some((is_used, has_viewer)) = known.filter(|_| self.is_allocated()) else { return };
        let idle = self.idle.get_or_insert_default();
        if self.last.and_then(|last| last.has_viewer) == Some(has_viewer) {
            idle.add(pending.gap, has_viewer, is_used);
        }
    }

    /// Sets the used bytes of the frame buffer and raises the peaks.
    fn add_memory(&mut self, pending: &mut PendingReading<'_>) {
        let DeviceReading { scopes, reading, .. } = pending.reading;
        let device = reading.memory.map(|memory| {
            if memory.used > memory.total {
                pending.clamps.push(Clamp::Memory);
            }
            self.total_memory = Some(memory.total);
            (scopes.device, memory.used.min(memory.total))
        });
        let most = device.map(|(_, used)| used).or(self.total_memory).unwrap_or(u64::MAX);
        let own = pending.own_on_shared().and_then(|own| own.memory);
        let own = own.map(|bytes| (Scope::Session, bytes.min(most)));
        for (scope, bytes) in device.into_iter().chain(own) {
            pending.values.memory.set(scope, bytes);
            self.peak.set(scope, self.peak.get(scope).unwrap_or_default().max(bytes));
        }
    }
}

// === impl PendingReading ===

impl<'r> PendingReading<'r> {
    /// Use of a shared device by the session's own processes. None for a device that is not shared, because the values of the
    /// device are then the session's.
    fn own_on_shared(&self) -> Option<&'r OwnUsage> {
        self.reading.own.filter(|_| self.reading.scopes.device != Scope::Session)
    }

    /// Whether the gap is so short that this reading represents the entire gap.
    fn is_timely(&self) -> bool {
        self.gap <= self.max_gap
    }

    /// Whether the session used the device since the last reading; a process on the device is a use. None if it is not known, or if the
    /// gap is too long for this reading.
    fn is_used(&self, utilization: Option<f64>) -> Option<bool> {
        let has_process = self.reading.own.is_some_and(|own| !own.processes.is_empty());
        // Without a process of the session, the work on a shared device is that of others.
        let without_process = self.own_on_shared().filter(|_| !has_process).map(|_| 0.0);
        let utilization = without_process.or(utilization).filter(|_| self.is_timely())?;
        Some(has_process || utilization >= UNUSED_BELOW)
    }

    /// Whether the device was busy in the driver's last measuring window.
    fn reports_work(&self) -> bool {
        self.reading.reading.utilization.is_some_and(|ratio| ratio > 0.0)
    }

    /// Activity from samples. Time in which the driver has recorded nothing counts as idle.
    fn sampled(&mut self, work: SampledWork) -> Activity {
        self.clamps.extend((0..work.out_of_range).map(|_| Clamp::Utilization));
        let is_measured = work.covered > 0.0;
        let ratio = is_measured.then(|| (work.busy / (work.span - work.lost)).min(1.0));
        // After a short gap, the time of lost samples gets the utilisation of the other time. After a long gap, it counts as
        // idle.
        let estimated = if self.is_timely() { ratio.unwrap_or_default() * work.lost } else { 0.0 };
        let unsampled = (work.span.min(self.gap) - work.covered).max(0.0);
        Activity { busy: work.busy + estimated, ratio, unsampled }
    }

    /// Activity from the utilisation of the driver's last measuring window. The entire gap is unsampled.
    fn window(&self) -> Activity {
        let ratio = self.reading.reading.utilization.filter(|_| self.is_timely());
        Activity { busy: ratio.unwrap_or_default() * self.gap, ratio, unsampled: self.gap }
    }

    /// Joules between two values of the energy counter; 0 if the counter fell or rose too fast.
    fn joules(&mut self, (last, last_at): (u64, Instant), counter: u64) -> f64 {
        let seconds = self.reading.at.saturating_duration_since(last_at).as_secs_f64().max(1.0);
        let joules = counter.checked_sub(last).map(|millijoules| millijoules as f64 / 1000.0);
        joules.filter(|joules| *joules <= MAX_WATTS * seconds).unwrap_or_else(|| {
            self.clamps.push(Clamp::Energy);
            0.0
        })
    }

    /// Sets the utilisation of the encoder and the decoder.
    fn set_engines(&mut self) {
        type Engine = fn(&mut ScopedValues) -> &mut ByScope<f64>;

        let own = self.own_on_shared();
        let DeviceReading { scopes, reading, .. } = self.reading;
        let engines: [(Engine, _, _); 2] = [
            (|values| &mut values.encoder, reading.encoder, own.and_then(|own| own.encoder)),
            (|values| &mut values.decoder, reading.decoder, own.and_then(|own| own.decoder)),
        ];
        for (engine, device, own) in engines {
            let own = own.map(|ratio| ratio.min(device.unwrap_or(1.0)));
            for (scope, ratio) in [(scopes.device, device), (Scope::Session, own)] {
                if let Some(ratio) = ratio {
                    engine(&mut self.values).set(scope, ratio);
                }
            }
        }
    }
}
