//! The account of one device: a read is taken in as seconds, joules and peaks. Pure.

use std::time::{Duration, Instant};

use super::{Clamp, Scopes, Shown, count, integral::integral};
use crate::{
    gpu::Reading,
    sampling::{
        processes::OwnUsage,
        scope::{ByScope, Scope},
    },
};

/// What one device did for the session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// UUID of the device.
    pub gpu: String,
    /// Seconds that the session held it; none where it was only shown, as one of the node's.
    pub allocated: Option<f64>,
    /// Of these, seconds that no sample speaks of.
    pub unsampled: f64,
    /// Seconds that it worked.
    pub busy: ByScope<f64>,
    /// Joules that it took.
    pub energy: ByScope<f64>,
    /// Joules that it took for this session, by the session's part of its work.
    pub attributed: Option<f64>,
    /// Most bytes of the frame buffer in use at a read.
    pub peak: ByScope<u64>,
    /// Faults of its card by number; none where the driver names no number or they are too many.
    pub xids: Vec<(Option<u64>, u64)>,
    /// The narrowest scope that was measured at the last read.
    pub(crate) scope: Option<Scope>,
    /// What its values as a whole stood for then. Both are of the time when it was held last.
    whole: Option<Scope>,
    /// When it was last known to be the session's; none while it is not.
    held: Option<Instant>,
    /// Seconds held since the last read, and those of them that are counted as unsampled already.
    silence: f64,
    missed: f64,
    read: Option<Last>,
}

/// What is remembered of the last read of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Last {
    at: Instant,
    /// Time of the newest sample, in the driver's microseconds; 0 where it has none.
    tick: u64,
    /// The same of the samples of the session's own processes.
    share: u64,
    /// The card's counter in millijoules, and when that was.
    energy: Option<(u64, Instant)>,
}

/// One read of a device while it is taken in.
pub(super) struct Read<'r> {
    pub(super) scopes: Scopes,
    pub(super) reading: &'r Reading,
    /// What the session's own processes had of it, where that is known.
    pub(super) own: Option<&'r OwnUsage>,
    pub(super) now: Instant,
    /// Time since the last read.
    pub(super) gap: Option<Duration>,
    /// Whether that was not too long for one read to speak of it all.
    pub(super) timely: bool,
    /// What was brought back to what can be.
    pub(super) clamps: Vec<Clamp>,
    pub(super) shown: Shown,
}

/// What the device did since the last read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Done {
    /// Seconds that it worked.
    busy: f64,
    /// Part of the time that is known; none where none is.
    ratio: Option<f64>,
    /// Seconds that no sample speaks of.
    unsampled: f64,
}

/// No card takes more; what would be more is not energy.
const MOST_WATTS: f64 = 3000.0;

/// Most kinds of faults of a card: what a driver says must not fill the memory.
pub(super) const MOST_XIDS: usize = 16;

// === impl Account ===

impl Account {
    /// One that is not held yet.
    pub(super) fn new(gpu: &str) -> Self {
        Self { gpu: gpu.to_owned(), ..Self::default() }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// See [`super::Counters::since`].
    pub(super) fn since(&self) -> (u64, u64) {
        self.read.map_or((0, 0), |last| (last.tick, last.share))
    }

    /// Time since the last read.
    pub(super) fn gap(&self, now: Instant) -> Option<Duration> {
        self.read.map(|last| now.saturating_duration_since(last.at))
    }

    /// It is the session's, from now on where it was not; what was read of it then is not the session's.
    pub(super) fn hold_from(&mut self, now: Instant) {
        if !self.is_held() {
            self.let_go();
            self.peak.remove(Scope::Node);
        }
        self.hold(now);
    }

    fn hold(&mut self, now: Instant) {
        let step = self.held.map_or(0.0, |before| now.saturating_duration_since(before).as_secs_f64());
        *self.allocated.get_or_insert_default() += step;
        self.silence += step;
        self.held = Some(now);
    }

    /// The same for one that is only remembered to be the session's, if it is.
    pub(crate) fn hold_on(&mut self, now: Instant) {
        if self.is_held() {
            self.hold(now);
        }
    }

    /// It goes on being read, and is not known to be the session's.
    pub(super) fn only_show(&mut self) {
        self.held = None;
    }

    /// It is not the session's any more.
    pub(super) fn let_go(&mut self) {
        (self.held, self.read, self.silence, self.missed) = (None, None, 0.0, 0.0);
    }

    /// Its card has reported a fault.
    pub(super) fn reported(&mut self, code: Option<u64>) {
        let is_known = self.xids.iter().any(|(known, _)| *known == code);
        let has_room = self.xids.len() < MOST_XIDS;
        count(&mut self.xids, code.filter(|_| is_known || has_room));
    }

    /// Nobody has seen it work since the last read. Samples that come later may speak of that time all the same: what was
    /// counted here is then not taken back, because it would fall.
    pub(super) fn miss(&mut self) {
        self.unsampled += self.silence - self.missed;
        self.missed = self.silence;
    }

    /// Takes a read in.
    pub(super) fn take(&mut self, read: &mut Read<'_>) {
        let before = self.whole;
        if let Some(scope) = before.filter(|scope| self.is_held() && *scope != read.scopes.device) {
            // It was of other use than it is now.
            self.peak.remove(scope);
        }
        let (done, tick) = self.done(read);
        self.take_work(done, read);
        let part = self.take_own_work(read);
        let energy = self.take_energy(part.zip(done.ratio), read);
        take_engines(read);
        self.take_memory(read);
        if self.is_held() {
            // At the end of a session its processes are gone, and what they did is still its own.
            let still = self.scope == Some(Scope::Session) && before == Some(read.scopes.device);
            self.scope = Some(if part.is_some() || still { Scope::Session } else { read.scopes.device });
            self.whole = Some(read.scopes.device);
        }
        let share = read.own.map_or_else(|| self.read.map_or(0, |last| last.share), |own| own.newest);
        (self.silence, self.missed) = (0.0, 0.0);
        self.read = Some(Last { at: read.now, tick, share, energy });
    }

    /// By the driver's samples, else by its last window; and the time of the newest sample.
    fn done(&self, read: &mut Read<'_>) -> (Done, u64) {
        let since = self.read.map_or(0, |last| last.tick);
        let gap = read.gap.map_or(0.0, |gap| gap.as_secs_f64());
        // The first batch is of a time before this session.
        let batch = (since > 0).then(|| integral(&read.reading.samples, since)).flatten();
        if let (Some((work, last)), Some(passed)) = (batch, read.gap) {
            read.clamps.extend((0..work.clamped).map(|_| Clamp::Utilization));
            let work = work.within(passed);
            let ratio = Some(work.busy / work.covered).filter(|ratio| ratio.is_finite());
            let hole = (work.span.min(gap) - work.covered).max(0.0);
            // A hole in a read that came in time is as the rest of it; after a longer one nobody knows.
            let filled = if read.timely { ratio.unwrap_or_default() * hole } else { 0.0 };
            return (Done { busy: work.busy + filled, ratio, unsampled: hole }, last);
        }
        let window = read.reading.utilization.map(|ratio| read.ratio(ratio)).filter(|_| read.timely);
        let done = Done { busy: window.unwrap_or_default() * gap, ratio: window, unsampled: gap };
        // Where it gave no samples, or the wall clock was set back and none is newer than the last: begin anew. The window
        // has told of the time that later samples would tell of again.
        (done, read.reading.samples.iter().map(|tick| tick.at).max().unwrap_or(0))
    }

    /// Adds the device's work.
    fn take_work(&mut self, done: Done, read: &mut Read<'_>) {
        let scope = read.scopes.device;
        // After a long silence the driver's last window says nothing of the time between, but it is what is now.
        let now =
            read.reading.utilization.filter(|ratio| ratio.is_finite()).map(|ratio| ratio.clamp(0.0, 1.0));
        if let Some(ratio) = done.ratio.or(now) {
            read.shown.utilization.set(scope, ratio);
        }
        if done.ratio.is_some() {
            self.busy.add(scope, done.busy);
        }
        if self.is_held() {
            self.unsampled += (done.unsampled - self.missed).max(0.0);
        }
    }

    /// Adds what the session's own processes had of a shared device; of one that is ours alone nobody needs to know.
    fn take_own_work(&mut self, read: &mut Read<'_>) -> Option<f64> {
        let part = read.own_of_shared().and_then(|own| own.sm);
        let part = part.map(|part| read.ratio(part))?;
        read.shown.utilization.set(Scope::Session, part);
        let seconds = read.gap.filter(|_| read.timely).map_or(0.0, |gap| gap.as_secs_f64());
        self.busy.add(Scope::Session, part * seconds);
        Some(part)
    }

    /// Adds the card's energy, and the session's share of it by its part of the card's work; the counter as it was last.
    fn take_energy(&mut self, part: Option<(f64, f64)>, read: &mut Read<'_>) -> Option<(u64, Instant)> {
        let before = self.read.and_then(|last| last.energy);
        let Some(now) = read.reading.energy else { return before };
        let joules = before.map_or(0.0, |(before, at)| {
            let seconds = read.now.saturating_duration_since(at).as_secs_f64().max(1.0);
            let joules = now.checked_sub(before).map(|millijoules| millijoules as f64 / 1000.0);
            joules.filter(|joules| *joules <= MOST_WATTS * seconds).unwrap_or_else(|| {
                read.clamps.push(Clamp::Energy);
                0.0
            })
        });
        self.energy.add(read.scopes.card, joules);
        let share = match part {
            _ if read.scopes.card == Scope::Session => Some(1.0),
            Some((own, device)) if device > 0.0 => Some((own / device).clamp(0.0, 1.0)),
            Some(_) => Some(0.0),
            None => None,
        };
        if let Some(share) = share {
            *self.attributed.get_or_insert_default() += joules * share;
        }
        Some((now, read.now))
    }

    fn take_memory(&mut self, read: &mut Read<'_>) {
        let device = read.reading.memory.map(|memory| {
            if memory.used > memory.total {
                read.clamps.push(Clamp::Memory);
            }
            (read.scopes.device, memory.used.min(memory.total))
        });
        let own = read.own_of_shared().and_then(|own| own.memory).map(|bytes| (Scope::Session, bytes));
        for (scope, bytes) in device.into_iter().chain(own) {
            read.shown.memory.set(scope, bytes);
            self.peak.set(scope, self.peak.get(scope).unwrap_or_default().max(bytes));
        }
    }
}

/// Where the ratio of an engine is shown.
type Engine = fn(&mut Shown) -> &mut ByScope<f64>;

fn take_engines(read: &mut Read<'_>) {
    let own = read.own_of_shared();
    let (encoder, decoder) = (read.reading.encoder, read.reading.decoder);
    let engines: [(Engine, _, _); 2] = [
        (|shown| &mut shown.encoder, encoder, own.and_then(|own| own.encoder)),
        (|shown| &mut shown.decoder, decoder, own.and_then(|own| own.decoder)),
    ];
    for (row, device, own) in engines {
        for (scope, ratio) in [(read.scopes.device, device), (Scope::Session, own)] {
            if let Some(ratio) = ratio {
                let ratio = read.ratio(ratio);
                row(&mut read.shown).set(scope, ratio);
            }
        }
    }
}

// === impl Read ===

impl<'r> Read<'r> {
    /// What the session's own processes have of a device that others have too.
    fn own_of_shared(&self) -> Option<&'r OwnUsage> {
        self.own.filter(|_| self.scopes.device != Scope::Session)
    }

    /// A ratio, brought back to what can be.
    fn ratio(&mut self, ratio: f64) -> f64 {
        let possible = if ratio.is_finite() { ratio.clamp(0.0, 1.0) } else { 0.0 };
        if possible != ratio {
            self.clamps.push(Clamp::Utilization);
        }
        possible
    }
}
