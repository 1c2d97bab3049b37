//! What only grows while the sidecar lives: what each device did for the session, and what failed. Pure: time is an
//! argument. Nothing here falls or jumps, whatever the driver says.

mod account;
mod integral;

use std::time::{Duration, Instant};

pub use self::account::Account;
use self::account::Read;
use super::{
    processes::OwnUsage,
    scope::{ByScope, Scope},
};
use crate::gpu::{Fault, Reading};

/// The totals since the sidecar started. They outlive the device and the driver.
#[derive(Debug)]
pub(crate) struct Counters {
    longest_gap: Duration,
    accounts: Vec<Account>,
    faults: Vec<(Fault, u64)>,
    clamped: Vec<(Clamp, u64)>,
    calls: u64,
}

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
pub(crate) struct Scopes {
    pub(crate) device: Scope,
    pub(crate) card: Scope,
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

/// Most devices that are accounted for: what a driver says must not fill the memory.
const MOST_ACCOUNTS: usize = 32;

// === impl Counters ===

impl Counters {
    /// Where the driver keeps no samples, two reads further apart than two `interval`s say nothing about the time between.
    pub(crate) fn new(interval: Duration) -> Self {
        Self { longest_gap: interval * 2, accounts: vec![], faults: vec![], clamped: vec![], calls: 0 }
    }

    /// The times of the newest samples that are known of a device and of the session's processes on it, in the driver's
    /// microseconds; 0 where none is.
    pub(crate) fn since(&self, gpu: &str) -> (u64, u64) {
        self.accounts.iter().find(|account| account.gpu == gpu).map_or((0, 0), Account::since)
    }

    /// The devices that are the session's as far as is known.
    pub(crate) fn held(&self) -> impl Iterator<Item = &str> {
        self.accounts.iter().filter(|account| account.is_held()).map(|account| account.gpu.as_str())
    }

    /// Exactly these devices are the session's now, and time is counted for them; others are only `shown`.
    pub(crate) fn hold(&mut self, ours: &[&str], shown: &[&str], now: Instant) {
        for gpu in ours.iter().chain(shown) {
            if self.accounts.len() < MOST_ACCOUNTS && !self.accounts.iter().any(|account| account.gpu == *gpu)
            {
                self.accounts.push(Account::new(gpu));
            }
        }
        for account in &mut self.accounts {
            let is_in = |gpus: &[&str]| gpus.contains(&account.gpu.as_str());
            match (is_in(ours), is_in(shown)) {
                (true, _) => account.hold_from(now),
                (false, true) => account.only_show(),
                (false, false) => account.let_go(),
            }
        }
    }

    /// Nothing new is known about whose the devices are: they are still held, and nobody has seen them work.
    pub(crate) fn hold_on(&mut self, now: Instant) {
        for account in &mut self.accounts {
            account.hold_on(now);
            account.miss();
        }
    }

    /// A held device could not be read.
    pub(crate) fn missed(&mut self, gpu: &str) {
        self.accounts.iter_mut().filter(|account| account.gpu == gpu).for_each(Account::miss);
    }

    /// Takes in what was read of a held device; `own` is what the session's own processes had of it, where that is known.
    pub(crate) fn read(
        &mut self,
        gpu: &str,
        scopes: Scopes,
        reading: &Reading,
        own: Option<&OwnUsage>,
        now: Instant,
    ) -> Shown {
        let Some(account) = self.accounts.iter_mut().find(|account| account.gpu == gpu) else {
            return Shown::default();
        };
        let gap = account.gap(now);
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
    pub(crate) fn reported(&mut self, gpu: &str, code: Option<u64>) {
        let held = self.accounts.iter_mut().filter(|account| account.is_held() && account.gpu == gpu);
        held.for_each(|account| account.reported(code));
    }

    pub(crate) fn asked(&mut self, calls: u64, faults: &[Fault]) {
        self.calls += calls;
        for fault in faults {
            count(&mut self.faults, *fault);
        }
    }

    pub(crate) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Failed calls by kind; as many kinds at most as the two vocabularies have pairs.
    pub(crate) fn faults(&self) -> &[(Fault, u64)] {
        &self.faults
    }

    pub(crate) fn clamped(&self) -> &[(Clamp, u64)] {
        &self.clamped
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }
}

fn count<T: PartialEq>(counts: &mut Vec<(T, u64)>, what: T) {
    match counts.iter_mut().find(|(known, _)| *known == what) {
        Some((_, count)) => *count += 1,
        None => counts.push((what, 1)),
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
