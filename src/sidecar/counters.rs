//! What only grows while the sidecar lives: what each device did for the session, and what failed. Pure: time is an
//! argument. Nothing here falls or jumps, whatever the driver says.

mod integral;

use std::time::{Duration, Instant};

use self::integral::integral;
use super::{attribution::Scope, processes::Own};
use crate::gpu::{Fault, Reading, Xid};

/// The totals since the sidecar started. They outlive the device and the driver.
#[derive(Debug)]
pub(super) struct Counters {
    longest_gap: Duration,
    accounts: Vec<Account>,
    faults: Vec<(Fault, u64)>,
    clamped: Vec<(Clamp, u64)>,
    calls: u64,
}

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
    pub(super) scope: Option<Scope>,
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
    /// What the values of the device stood for.
    scope: Scope,
    /// The card's counter in millijoules, and when that was.
    energy: Option<(u64, Instant)>,
}

/// One read of a device while it is taken in.
struct Read<'r> {
    scopes: Scopes,
    reading: &'r Reading,
    own: Option<&'r Own>,
    now: Instant,
    /// Time since the last read.
    gap: Option<Duration>,
    /// Whether that was not too long for one read to speak of it all.
    timely: bool,
    clamps: Vec<Clamp>,
    shown: Shown,
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

/// A value for each scope that it was measured in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByScope<T>(Vec<(Scope, T)>);

/// What was brought back to what can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clamp {
    /// A ratio outside 0 to 1.
    Utilization,
    /// An energy counter that ran backwards, or faster than any card can.
    Energy,
    /// More memory used than there is.
    Memory,
}

/// What the values of a device stand for, and what those of its whole card do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scopes {
    pub(super) device: Scope,
    pub(super) card: Scope,
}

/// What a read says of a device, made ready to be shown: ratios from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// Mean since the last read by scope.
    pub utilization: ByScope<f64>,
    /// Bytes of the frame buffer in use by scope.
    pub memory: ByScope<u64>,
    /// Of the encoder's time, by scope.
    pub encoder: ByScope<f64>,
    /// Of the decoder's time, by scope.
    pub decoder: ByScope<f64>,
}

/// No card takes more; what would be more is not energy.
const MOST_WATTS: f64 = 3000.0;

/// Most devices that are accounted for, and most kinds of faults of a card: what a driver says must not fill the memory.
const MOST_ACCOUNTS: usize = 32;
const MOST_XIDS: usize = 16;

// === impl Counters ===

impl Counters {
    /// Where the driver keeps no samples, two reads further apart than two `interval`s say nothing about the time between.
    pub(super) fn new(interval: Duration) -> Self {
        Self { longest_gap: interval * 2, accounts: vec![], faults: vec![], clamped: vec![], calls: 0 }
    }

    /// The times of the newest samples that are known of a device and of the session's processes on it, in the driver's
    /// microseconds; 0 where none is.
    pub(super) fn since(&self, gpu: &str) -> (u64, u64) {
        let account = self.accounts.iter().find(|account| account.gpu == gpu);
        account.and_then(|account| account.read).map_or((0, 0), |last| (last.tick, last.share))
    }

    /// The devices that are the session's as far as is known.
    pub(super) fn held(&self) -> impl Iterator<Item = &str> {
        self.accounts.iter().filter(|account| account.held.is_some()).map(|account| account.gpu.as_str())
    }

    /// Exactly these devices are read now. Where they are the session's time is counted for them, and for others no more.
    pub(super) fn hold(&mut self, gpus: &[&str], are_ours: bool, now: Instant) {
        for gpu in gpus {
            if self.accounts.len() < MOST_ACCOUNTS && !self.accounts.iter().any(|account| account.gpu == *gpu)
            {
                self.accounts.push(Account { gpu: (*gpu).to_owned(), ..Account::default() });
            }
        }
        for account in &mut self.accounts {
            match gpus.contains(&account.gpu.as_str()) {
                true if are_ours => account.hold(now),
                true => account.held = None,
                false => (account.held, account.read) = (None, None),
            }
        }
    }

    /// Nothing new is known about whose the devices are: they are still held, and nobody has seen them work.
    pub(super) fn hold_on(&mut self, now: Instant) {
        for account in &mut self.accounts {
            account.hold_on(now);
            account.miss();
        }
    }

    /// A held device could not be read.
    pub(super) fn missed(&mut self, gpu: &str) {
        self.accounts.iter_mut().filter(|account| account.gpu == gpu).for_each(Account::miss);
    }

    /// Takes in what was read of a held device; `own` is what the session's own processes had of it, where that is known.
    pub(super) fn read(
        &mut self,
        gpu: &str,
        scopes: Scopes,
        reading: &Reading,
        own: Option<&Own>,
        now: Instant,
    ) -> Shown {
        let Some(account) = self.accounts.iter_mut().find(|account| account.gpu == gpu) else {
            return Shown::default();
        };
        let gap = account.read.map(|last| now.saturating_duration_since(last.at));
        let timely = gap.is_none_or(|gap| gap <= self.longest_gap);
        let mut read =
            Read { scopes, reading, own, now, gap, timely, clamps: vec![], shown: Shown::default() };
        account.take(&mut read);
        for clamp in read.clamps {
            count(&mut self.clamped, clamp);
        }
        read.shown
    }

    /// A card that is ours, or of which a slice is, has reported a fault.
    pub(super) fn reported(&mut self, gpu: &str, xid: &Xid) {
        if let Some(account) =
            self.accounts.iter_mut().find(|account| account.gpu == gpu && account.held.is_some())
        {
            let is_known = account.xids.iter().any(|(code, _)| *code == xid.code);
            let code = xid.code.filter(|_| is_known || account.xids.len() < MOST_XIDS);
            count(&mut account.xids, code);
        }
    }

    pub(super) fn asked(&mut self, calls: u64, faults: &[Fault]) {
        self.calls += calls;
        for fault in faults {
            count(&mut self.faults, *fault);
        }
    }

    pub(super) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Failed calls by kind; as many kinds at most as the two vocabularies have pairs.
    pub(super) fn faults(&self) -> &[(Fault, u64)] {
        &self.faults
    }

    pub(super) fn clamped(&self) -> &[(Clamp, u64)] {
        &self.clamped
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls
    }
}

fn count<T: PartialEq>(counts: &mut Vec<(T, u64)>, what: T) {
    match counts.iter_mut().find(|(known, _)| *known == what) {
        Some((_, count)) => *count += 1,
        None => counts.push((what, 1)),
    }
}

// === impl Account ===

impl Account {
    /// It is the session's at this moment, and has been since the last if it was then.
    fn hold(&mut self, now: Instant) {
        let step = self.held.map_or(0.0, |before| now.saturating_duration_since(before).as_secs_f64());
        *self.allocated.get_or_insert_default() += step;
        self.silence += step;
        self.held = Some(now);
    }

    /// The same for one that is only remembered to be the session's, if it is.
    pub(super) fn hold_on(&mut self, now: Instant) {
        if self.held.is_some() {
            self.hold(now);
        }
    }

    /// Nobody has seen it work since the last read. Samples that come later may speak of that time all the same: what was
    /// counted here is then not taken back, because it would fall.
    fn miss(&mut self) {
        self.unsampled += self.silence - self.missed;
        self.missed = self.silence;
    }

    fn take(&mut self, read: &mut Read<'_>) {
        let before = self.read.map(|last| last.scope);
        if let Some(scope) = before.filter(|scope| *scope != read.scopes.device) {
            // It was of other use than it is now.
            self.peak.remove(scope);
        }
        let (done, tick) = self.done(read);
        self.take_work(done, read);
        let part = self.take_own_work(read);
        let energy = self.take_energy(part.zip(done.ratio), read);
        take_engines(read);
        self.take_memory(read);
        self.scope = Some(if part.is_some() { Scope::Session } else { read.scopes.device });
        let share = read.own.map_or(0, |own| own.newest).max(self.read.map_or(0, |last| last.share));
        (self.silence, self.missed) = (0.0, 0.0);
        self.read = Some(Last { at: read.now, tick, share, scope: read.scopes.device, energy });
    }

    /// By the driver's samples, else by its last window; and the time of the newest sample.
    fn done(&self, read: &mut Read<'_>) -> (Done, u64) {
        let since = self.read.map_or(0, |last| last.tick);
        let gap = read.gap.map_or(0.0, |gap| gap.as_secs_f64());
        // The first batch is of a time before this session.
        let batch = (since > 0).then(|| integral(&read.reading.ticks, since)).flatten();
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
        (done, read.reading.ticks.iter().map(|tick| tick.at).max().unwrap_or(0))
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
        self.unsampled += (done.unsampled - self.missed).max(0.0);
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
    fn own_of_shared(&self) -> Option<&'r Own> {
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

// === impl ByScope ===

impl<T: Copy> ByScope<T> {
    /// The value of a scope.
    #[must_use]
    pub fn get(&self, scope: Scope) -> Option<T> {
        self.0.iter().find(|(known, _)| *known == scope).map(|(_, value)| *value)
    }

    /// Each scope with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Scope, T)> + '_ {
        self.0.iter().copied()
    }

    fn remove(&mut self, scope: Scope) {
        self.0.retain(|(known, _)| *known != scope);
    }

    fn set(&mut self, scope: Scope, value: T) {
        match self.0.iter_mut().find(|(known, _)| *known == scope) {
            Some((_, known)) => *known = value,
            None => self.0.push((scope, value)),
        }
    }
}

impl ByScope<f64> {
    fn add(&mut self, scope: Scope, more: f64) {
        self.set(scope, self.get(scope).unwrap_or_default() + more);
    }
}

// === impl Clamp ===

impl Clamp {
    /// Value of the label `value`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utilization => "utilization",
            Self::Energy => "energy",
            Self::Memory => "memory",
        }
    }
}

#[cfg(test)]
mod tests;
