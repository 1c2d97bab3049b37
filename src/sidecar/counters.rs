//! What only grows while the sidecar lives: what each device did for the session, and what failed. Pure: time is an
//! argument. Nothing here falls or jumps, whatever the driver says.

mod integral;

use std::time::{Duration, Instant};

use self::integral::{Work, integral};
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
    /// Seconds that the session held it.
    pub allocated: f64,
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
    /// When it was last known to be the session's; none while it is not.
    held: Option<Instant>,
    read: Option<Last>,
}

/// What is remembered of the last read of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Last {
    at: Instant,
    /// Time of the newest sample, in the driver's microseconds; 0 where it has none.
    tick: u64,
    energy: Option<u64>,
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

    /// The time of the newest sample of a device that is known, in the driver's microseconds.
    pub(super) fn since(&self, gpu: &str) -> u64 {
        let account = self.accounts.iter().find(|account| account.gpu == gpu);
        account.and_then(|account| account.read).map_or(0, |last| last.tick)
    }

    /// Exactly these devices are the session's now: time is counted for them, and for others no more.
    pub(super) fn hold(&mut self, gpus: &[&str], now: Instant) {
        for account in &mut self.accounts {
            match gpus.contains(&account.gpu.as_str()) {
                true => account.hold(now),
                false => (account.held, account.read) = (None, None),
            }
        }
        for gpu in gpus {
            if self.accounts.len() < MOST_ACCOUNTS && !self.accounts.iter().any(|account| account.gpu == *gpu)
            {
                self.accounts.push(Account { gpu: (*gpu).to_owned(), held: Some(now), ..Account::default() });
            }
        }
    }

    /// Nothing new is known about whose the devices are: they are still held, and nobody has seen them work.
    pub(super) fn hold_on(&mut self, now: Instant) {
        self.accounts
            .iter_mut()
            .filter(|account| account.held.is_some())
            .for_each(|account| account.hold(now));
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
        let longest = self.longest_gap;
        let Some(account) = self.accounts.iter_mut().find(|account| account.gpu == gpu) else {
            return Shown::default();
        };
        let mut clamps = vec![];
        let shown = account.read(scopes, reading, own, now, longest, &mut clamps);
        for clamp in clamps {
            count(&mut self.clamped, clamp);
        }
        shown
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
    fn hold(&mut self, now: Instant) {
        if let Some(before) = self.held {
            self.allocated += now.saturating_duration_since(before).as_secs_f64();
        }
        self.held = Some(now);
    }

    fn read(
        &mut self,
        scopes: Scopes,
        reading: &Reading,
        own: Option<&Own>,
        now: Instant,
        longest: Duration,
        clamps: &mut Vec<Clamp>,
    ) -> Shown {
        let mut shown = Shown::default();
        let scope = scopes.device;
        let gap = self.read.map(|last| now.saturating_duration_since(last.at));
        let (work, tick) = self.work(reading, gap, longest, clamps);
        let ratio = work.map(|work| work.busy / work.covered).filter(|ratio| ratio.is_finite());
        // After a long silence the driver's last window says nothing of the time between, but it is what is now.
        let now_is = reading.utilization.filter(|ratio| ratio.is_finite()).map(|ratio| ratio.clamp(0.0, 1.0));
        if let Some(ratio) = ratio.or(now_is) {
            shown.utilization.set(scope, ratio);
        }
        if let (Some(work), Some(gap)) = (work, gap) {
            let hole = (gap.as_secs_f64() - work.covered).max(0.0);
            // A hole in a read that came in time is as the rest of it; after a longer one nobody knows.
            let filled = if gap <= longest { ratio.unwrap_or_default() * hole } else { 0.0 };
            self.busy.add(scope, work.busy + filled);
            // Samples end where the driver's last window does, not where we read: less than a tenth is that edge.
            self.unsampled += if hole > gap.as_secs_f64() / 10.0 { hole } else { 0.0 };
        } else if let Some(gap) = gap {
            self.unsampled += gap.as_secs_f64();
        } else if ratio.is_some() {
            self.busy.add(scope, 0.0);
        }

        let timely = gap.filter(|gap| *gap <= longest).map_or(0.0, |gap| gap.as_secs_f64());
        let part = own.and_then(|own| own.sm).map(|sm| clamped(sm, Clamp::Utilization, clamps));
        // A device that is ours alone needs no counting of processes.
        if let Some(part) = part.filter(|_| scope != Scope::Session) {
            shown.utilization.set(Scope::Session, part);
            self.busy.add(Scope::Session, part * timely);
        }
        self.take_energy(scopes.card, reading.energy, gap, part.zip(ratio), clamps);

        for (row, device, own) in [
            (&mut shown.encoder, reading.encoder, own.and_then(|own| own.encoder)),
            (&mut shown.decoder, reading.decoder, own.and_then(|own| own.decoder)),
        ] {
            if let Some(ratio) = device {
                row.set(scope, clamped(ratio, Clamp::Utilization, clamps));
            }
            if let Some(ratio) = own.filter(|_| scope != Scope::Session) {
                row.set(Scope::Session, clamped(ratio, Clamp::Utilization, clamps));
            }
        }
        if let Some(memory) = reading.memory {
            if memory.used > memory.total {
                clamps.push(Clamp::Memory);
            }
            self.hold_memory(scope, memory.used.min(memory.total), &mut shown);
        }
        if let Some(bytes) = own.and_then(|own| own.memory).filter(|_| scope != Scope::Session) {
            self.hold_memory(Scope::Session, bytes, &mut shown);
        }
        self.read = Some(Last { at: now, tick, energy: reading.energy });
        shown
    }

    /// By the driver's samples, else by its last window; and the time of the newest sample.
    fn work(
        &self,
        reading: &Reading,
        gap: Option<Duration>,
        longest: Duration,
        clamps: &mut Vec<Clamp>,
    ) -> (Option<Work>, u64) {
        let since = self.read.map_or(0, |last| last.tick);
        let newest = reading.ticks.iter().map(|tick| tick.at).max();
        // The first batch is of a time before this session.
        let batch = (since > 0).then(|| integral(&reading.ticks, since)).flatten();
        if let (Some((work, last)), Some(gap)) = (batch, gap) {
            (0..work.clamped).for_each(|_| clamps.push(Clamp::Utilization));
            return (Some(work.within(gap)), last);
        }
        let window = reading.utilization.map(|ratio| clamped(ratio, Clamp::Utilization, clamps));
        let seconds = gap.map_or(1.0, |gap| gap.as_secs_f64());
        let work = window.filter(|_| gap.is_none_or(|gap| gap <= longest)).map(|ratio| Work {
            busy: ratio * seconds,
            covered: seconds,
            clamped: 0,
        });
        // Where the wall clock was set back no sample is newer than the last: begin anew.
        (work, newest.unwrap_or(0))
    }

    fn take_energy(
        &mut self,
        scope: Scope,
        millijoules: Option<u64>,
        gap: Option<Duration>,
        part: Option<(f64, f64)>,
        clamps: &mut Vec<Clamp>,
    ) {
        let Some(now) = millijoules else { return };
        let joules = match (self.read.and_then(|last| last.energy), gap) {
            (Some(before), Some(gap)) => {
                let joules = now.checked_sub(before).map(|delta| delta as f64 / 1000.0);
                let possible = joules.filter(|joules| *joules <= MOST_WATTS * gap.as_secs_f64().max(1.0));
                if possible.is_none() {
                    clamps.push(Clamp::Energy);
                }
                possible.unwrap_or_default()
            }
            _ => 0.0,
        };
        self.energy.add(scope, joules);
        let share = match part {
            _ if scope == Scope::Session => Some(1.0),
            Some((own, device)) if device > 0.0 => Some((own / device).clamp(0.0, 1.0)),
            Some(_) => Some(0.0),
            None => None,
        };
        if let Some(share) = share {
            *self.attributed.get_or_insert_default() += joules * share;
        }
    }

    fn hold_memory(&mut self, scope: Scope, bytes: u64, shown: &mut Shown) {
        shown.memory.set(scope, bytes);
        let peak = self.peak.get(scope).unwrap_or_default().max(bytes);
        self.peak.set(scope, peak);
    }
}

fn clamped(ratio: f64, what: Clamp, clamps: &mut Vec<Clamp>) -> f64 {
    let possible = if ratio.is_finite() { ratio.clamp(0.0, 1.0) } else { 0.0 };
    if possible != ratio {
        clamps.push(what);
    }
    possible
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
