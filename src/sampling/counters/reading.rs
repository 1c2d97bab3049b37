//! Adds a reading to the account of its device: seconds, joules and peaks.

use std::time::{Duration, Instant};

use super::{
    account::{Account, LastReading, NewestSamples},
    integral::{SampledWork, integral},
    values::{Clamp, DeviceScopes, ScopedValues},
};
use crate::{
    gpu::Reading,
    sampling::{
        processes::OwnUsage,
        scope::{ByScope, Scope},
    },
};

/// Reading of a device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceReading<'r> {
    /// Scopes of the values.
    pub scopes: DeviceScopes,
    /// The values.
    pub reading: &'r Reading,
    /// Use of the device by the session's own processes, if the process lists give it.
    pub own: Option<&'r OwnUsage>,
    /// When the device was read.
    pub at: Instant,
}

/// A reading while it is added.
struct Intake<'r> {
    reading: DeviceReading<'r>,
    /// Time since the last reading.
    gap: Option<Duration>,
    /// Whether the gap is short enough for this reading to represent all of it.
    is_timely: bool,
    clamps: Vec<Clamp>,
    values: ScopedValues,
}

/// Activity of a device since the last reading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Activity {
    /// Seconds in which the device was busy.
    busy: f64,
    /// Busy part of the time; none if neither samples nor a window give it.
    ratio: Option<f64>,
    /// Seconds that no sample covers.
    unsampled: f64,
}

/// No card uses more power; a faster rise of the energy counter is an error of the driver.
const MAX_WATTS: f64 = 3000.0;

// === impl Account ===

impl Account {
    /// Adds a reading. Returns the values to publish and the clamped values. If the driver keeps no samples, a reading more
    /// than `max_gap` after the last one does not represent the time between.
    #[must_use]
    pub fn add(&mut self, reading: DeviceReading<'_>, max_gap: Duration) -> (ScopedValues, Vec<Clamp>) {
        let gap = self.gap(reading.at);
        let is_timely = gap.is_none_or(|gap| gap <= max_gap);
        let mut intake = Intake { reading, gap, is_timely, clamps: vec![], values: ScopedValues::default() };
        self.take(&mut intake);
        (intake.values, intake.clamps)
    }

    fn take(&mut self, intake: &mut Intake<'_>) {
        let DeviceReading { scopes, own, at, .. } = intake.reading;
        let earlier_scope = self.device_scope;
        if let Some(earlier) =
            earlier_scope.filter(|earlier| self.is_allocated() && *earlier != scopes.device)
        {
            // The peak of the earlier scope no longer applies.
            self.peak.remove(earlier);
        }
        let (activity, newest) = self.activity(intake);
        self.add_activity(activity, intake);
        let own_ratio = self.add_own_work(intake);
        let energy = self.add_energy(own_ratio.zip(activity.ratio), intake);
        intake.set_engines();
        self.add_memory(intake);
        if self.is_allocated() {
            // At the end of a session its processes have ended, and their work still belongs to the session.
            let is_still_own = self.scope == Some(Scope::Session) && earlier_scope == Some(scopes.device);
            let is_own = own_ratio.is_some() || is_still_own;
            self.scope = Some(if is_own { Scope::Session } else { scopes.device });
            self.device_scope = Some(scopes.device);
        }
        let processes = own.map_or_else(|| self.newest_samples().processes, |own| own.newest);
        (self.since_reading, self.marked_unsampled) = (0.0, 0.0);
        let newest = NewestSamples { device: newest, processes };
        self.last = Some(LastReading { at, newest, energy });
    }

    /// Activity since the last reading, from the driver's samples or, if there are no new ones, from its last window. The
    /// second value is the time of the newest sample.
    fn activity(&self, intake: &mut Intake<'_>) -> (Activity, u64) {
        let since = self.newest_samples().device;
        let reading = intake.reading.reading;
        // The first batch covers a time before this session.
        let batch = if since > 0 { integral(&reading.samples, since) } else { None };
        if let (Some((work, newest)), Some(gap)) = (batch, intake.gap) {
            return (intake.sampled(work.within(gap), gap), newest);
        }
        // No new sample: the driver gave none, or the wall clock was set back. Continue from the newest sample that the driver
        // gave. The window covers this time already, so later samples must not count it again.
        let newest = reading.samples.iter().map(|sample| sample.at).max().unwrap_or(0);
        (intake.window(), newest)
    }

    fn add_activity(&mut self, activity: Activity, intake: &mut Intake<'_>) {
        let DeviceReading { scopes, reading, .. } = intake.reading;
        // After a long gap the driver's last window does not represent the gap, but it is the current value.
        let current =
            reading.utilization.filter(|ratio| ratio.is_finite()).map(|ratio| ratio.clamp(0.0, 1.0));
        if let Some(ratio) = activity.ratio.or(current) {
            intake.values.utilization.set(scopes.device, ratio);
        }
        if activity.ratio.is_some() {
            self.busy.add(scopes.device, activity.busy);
        }
        if self.is_allocated() {
            self.unsampled += (activity.unsampled - self.marked_unsampled).max(0.0);
        }
    }

    /// Adds the work of the session's own processes on a shared device: their part of its time.
    fn add_own_work(&mut self, intake: &mut Intake<'_>) -> Option<f64> {
        let ratio = intake.own_on_shared().and_then(|own| own.sm)?;
        let ratio = intake.clamped_ratio(ratio);
        intake.values.utilization.set(Scope::Session, ratio);
        let seconds = intake.gap.filter(|_| intake.is_timely).map_or(0.0, |gap| gap.as_secs_f64());
        self.busy.add(Scope::Session, ratio * seconds);
        Some(ratio)
    }

    /// Adds the card's energy, and the session's part of it. `work` is the session's ratio and the device's ratio. Returns the
    /// energy counter and its time for the next reading.
    fn add_energy(&mut self, work: Option<(f64, f64)>, intake: &mut Intake<'_>) -> Option<(u64, Instant)> {
        let DeviceReading { scopes, reading, at, .. } = intake.reading;
        let last = self.last.and_then(|last| last.energy);
        let Some(counter) = reading.energy else { return last };
        let joules = last.map_or(0.0, |last| intake.joules(last, counter));
        self.energy.add(scopes.card, joules);
        let part = match work {
            _ if scopes.card == Scope::Session => Some(1.0),
            Some((own, device)) if device > 0.0 => Some((own / device).clamp(0.0, 1.0)),
            Some(_) => Some(0.0),
            None => None,
        };
        if let Some(part) = part {
            *self.attributed.get_or_insert_default() += joules * part;
        }
        Some((counter, at))
    }

    fn add_memory(&mut self, intake: &mut Intake<'_>) {
        let DeviceReading { scopes, reading, .. } = intake.reading;
        let device = reading.memory.map(|memory| {
            if memory.used > memory.total {
                intake.clamps.push(Clamp::Memory);
            }
            (scopes.device, memory.used.min(memory.total))
        });
        let own = intake.own_on_shared().and_then(|own| own.memory).map(|bytes| (Scope::Session, bytes));
        for (scope, bytes) in device.into_iter().chain(own) {
            intake.values.memory.set(scope, bytes);
            self.peak.set(scope, self.peak.get(scope).unwrap_or_default().max(bytes));
        }
    }
}

// === impl Intake ===

impl<'r> Intake<'r> {
    /// Use of a device by the session's own processes, if other pods use the device too. On a device of the session alone
    /// the device's values are the session's.
    fn own_on_shared(&self) -> Option<&'r OwnUsage> {
        self.reading.own.filter(|_| self.reading.scopes.device != Scope::Session)
    }

    fn clamped_ratio(&mut self, ratio: f64) -> f64 {
        let clamped = if ratio.is_finite() { ratio.clamp(0.0, 1.0) } else { 0.0 };
        if clamped != ratio {
            self.clamps.push(Clamp::Utilization);
        }
        clamped
    }

    fn sampled(&mut self, work: SampledWork, gap: Duration) -> Activity {
        self.clamps.extend((0..work.clamped).map(|_| Clamp::Utilization));
        let ratio = Some(work.busy / work.covered).filter(|ratio| ratio.is_finite());
        let hole = (work.span.min(gap.as_secs_f64()) - work.covered).max(0.0);
        // A hole inside a timely reading gets the utilisation of the rest; a longer one counts as idle.
        let extrapolated = if self.is_timely { ratio.unwrap_or_default() * hole } else { 0.0 };
        Activity { busy: work.busy + extrapolated, ratio, unsampled: hole }
    }

    fn window(&mut self) -> Activity {
        let gap = self.gap.map_or(0.0, |gap| gap.as_secs_f64());
        let ratio = self.reading.reading.utilization.map(|ratio| self.clamped_ratio(ratio));
        let ratio = ratio.filter(|_| self.is_timely);
        Activity { busy: ratio.unwrap_or_default() * gap, ratio, unsampled: gap }
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

    fn set_engines(&mut self) {
        type Engine = fn(&mut ScopedValues) -> &mut ByScope<f64>;

        let own = self.own_on_shared();
        let DeviceReading { scopes, reading, .. } = self.reading;
        let engines: [(Engine, _, _); 2] = [
            (|values| &mut values.encoder, reading.encoder, own.and_then(|own| own.encoder)),
            (|values| &mut values.decoder, reading.decoder, own.and_then(|own| own.decoder)),
        ];
        for (engine, device, own) in engines {
            for (scope, ratio) in [(scopes.device, device), (Scope::Session, own)] {
                if let Some(ratio) = ratio {
                    let ratio = self.clamped_ratio(ratio);
                    engine(&mut self.values).set(scope, ratio);
                }
            }
        }
    }
}
