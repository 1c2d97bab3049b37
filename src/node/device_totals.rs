//! Totals of each device of the node since the agent started, split by the owners of its processes. Pure.
//!
//! The parts are calculated as a sidecar calculates its own, so the sum over the sessions is the part of [`OwnerKind::Session`].

mod by_owner;
#[cfg(test)]
mod tests;
mod users;

use std::time::{Duration, Instant};

pub use self::by_owner::OwnerKind;
pub(super) use self::{
    by_owner::ByOwner,
    users::{DeviceSessions, NodeSessions},
};
use crate::{
    gpu::{Device, Reading, Sample},
    sampling::{
        bounds::{self, Clamp},
        counters::{Account, DeviceReading, DeviceScopes},
        processes::OwnUsage,
        scope::Scope,
    },
};

/// The totals of all devices that were read since the agent started.
#[derive(Debug)]
pub(super) struct DeviceTotals {
    max_gap: Duration,
    devices: Vec<CountedDevice>,
}

/// What one poll has read from one device.
#[derive(Debug)]
pub(super) struct DeviceUse<'p> {
    pub(super) device: &'p Device,
    /// None if the device could not be read.
    pub(super) reading: Option<&'p Reading>,
    /// The use by each pod, and by all processes outside of pods. An owner whose kind is not known is left out.
    pub(super) owners: Vec<(OwnerKind, OwnUsage)>,
    /// None if the sessions of the node could not be found.
    pub(super) sessions: Option<DeviceSessions>,
}

/// What the agent exposes of one device.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DeviceCounters {
    pub(super) device: Device,
    /// Seconds that the readings of the device represent.
    pub(super) observed: f64,
    /// Busy seconds; none if the driver has never given the utilisation of the device.
    pub(super) busy: Option<ByOwner>,
    /// Joules of the card; none for a slice, and if the driver has never given them.
    pub(super) energy: Option<ByOwner>,
    /// The values of the last poll; none if it could not read the device.
    pub(super) current: Option<CurrentUse>,
}

/// The use of a device at the last poll.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CurrentUse {
    /// Used bytes of the frame buffer by owner, and its size; none if the driver does not give them, and for a card with MIG
    /// enabled, because its slices have them.
    pub(super) memory: Option<(ByOwner, u64)>,
    /// None if the sessions of the node could not be found.
    pub(super) sessions: Option<DeviceSessions>,
}

#[derive(Debug)]
struct CountedDevice {
    account: Account,
    total: DeviceCounters,
}

/// What one reading has added to an account.
struct Added {
    busy: f64,
    /// Joules of the card.
    energy: f64,
    /// Utilisation of the device, 0 to 1; none if it does not represent the time since the last reading.
    ratio: Option<f64>,
    /// Whether the reading represents the entire time since the last one.
    is_timely: bool,
    /// Seconds since the last reading that the reading represents.
    observed: f64,
}

/// Maximum number of devices, so that a driver with other UUIDs at each opening cannot fill the memory. A node has at most 16
/// cards with 7 slices each. With more, the devices that the driver does not list any more are removed: each new slice has a new UUID.
const MAX_DEVICES: usize = 128;

/// Minimum of sampled seconds: the difference of two sums is seldom exactly 0.
const MIN_SAMPLED: f64 = 1e-6;

/// Scopes of a card as the node sees it.
const SCOPES: DeviceScopes = DeviceScopes { device: Scope::Device, card: Scope::Device };

// === impl DeviceTotals ===

impl DeviceTotals {
    /// Totals without devices. After a gap of more than two intervals between two readings, a reading does not represent the gap.
    pub(super) fn new(interval: Duration) -> Self {
        Self { max_gap: interval * 2, devices: vec![] }
    }

    /// Adds a poll, which has read all devices at `now`. Returns the kinds of the values out of range. A device that was not read
    /// keeps its totals.
    pub(super) fn add(&mut self, devices: &[DeviceUse<'_>], now: Instant) -> Vec<Clamp> {
        self.end_current();
        self.make_space(devices);
        let mut clamps = vec![];
        for used in devices {
            let max_gap = self.max_gap;
            if let (Some(reading), Some(counted)) = (used.reading, self.counted(used.device)) {
                clamps.extend(counted.add(used, reading.clone(), now, max_gap));
            }
        }
        for counted in self.devices.iter_mut().filter(|counted| counted.total.current.is_none()) {
            counted.account.discard_samples();
        }
        clamps
    }

    /// Ends the values of the last poll, for a poll in which the driver did not answer.
    pub(super) fn end_current(&mut self) {
        self.devices.iter_mut().for_each(|counted| counted.total.current = None);
    }

    /// The totals of each device, in the order in which the devices were read first.
    pub(super) fn published(&self) -> Vec<DeviceCounters> {
        self.devices.iter().map(|counted| counted.total.clone()).collect()
    }

    /// Time that the driver's shortest buffer of samples covers; none if no buffer is full.
    pub(super) fn buffered_time(&self) -> Option<Duration> {
        self.devices.iter().filter_map(|counted| counted.account.buffered_time()).min()
    }

    /// Whether the buffer of samples of this device was full at the last answer.
    pub(super) fn has_full_buffer(&self, uuid: &str) -> bool {
        let mut accounts = self.devices.iter().map(|counted| &counted.account);
        accounts.any(|account| account.gpu == uuid && account.buffered_time().is_some())
    }

    /// Keeps samples of this device that were read between two polls.
    pub(super) fn keep_samples(&mut self, uuid: &str, samples: &[Sample]) {
        if let Some(counted) = self.devices.iter_mut().find(|counted| counted.account.gpu == uuid) {
            counted.account.keep_samples(samples);
        }
    }

    /// Removes the devices that are not among these, if there is no space for a new one of these.
    fn make_space(&mut self, devices: &[DeviceUse<'_>]) {
        let is_among =
            |counted: &CountedDevice| devices.iter().any(|used| used.device.uuid == counted.account.gpu);
        let old = self.devices.iter().filter(|counted| !is_among(counted)).count();
        if old + devices.len() > MAX_DEVICES {
            self.devices.retain(is_among);
        }
    }

    fn counted(&mut self, device: &Device) -> Option<&mut CountedDevice> {
        let index = self.devices.iter().position(|counted| counted.account.gpu == device.uuid);
        if index.is_none() && self.devices.len() < MAX_DEVICES {
            self.devices.push(CountedDevice::new(device));
            return self.devices.last_mut();
        }
        self.devices.get_mut(index?)
    }
}

// === impl CountedDevice ===

impl CountedDevice {
    fn new(device: &Device) -> Self {
        let (busy, energy, current) = (None, None, None);
        let total = DeviceCounters { device: device.clone(), observed: 0.0, busy, energy, current };
        Self { account: Account::new(&device.uuid), total }
    }

    fn add(
        &mut self,
        used: &DeviceUse<'_>,
        mut reading: Reading,
        now: Instant,
        max_gap: Duration,
    ) -> Vec<Clamp> {
        let mut clamps = bounds::remove_impossible(&mut reading);
        let (added, more) = self.account_reading(&reading, now, max_gap);
        clamps.extend(more);
        let total = &mut self.total;
        total.device = used.device.clone();
        total.observed += added.observed;
        if !used.device.mig_enabled && self.account.busy.get(SCOPES.device).is_some() {
            total.busy.get_or_insert_default().add_all(busy_by_owner(&added, used));
        }
        // A slice has the energy of its card, which is counted for the card.
        if used.device.slice.is_none() && self.account.energy.get(SCOPES.card).is_some() {
            total.energy.get_or_insert_default().add_all(energy_by_owner(&added, used));
        }
        total.current = Some(CurrentUse { memory: memory(&reading, used), sessions: used.sessions });
        clamps
    }

    /// Adds a reading to the account, and returns what this has added.
    fn account_reading(&mut self, reading: &Reading, now: Instant, max_gap: Duration) -> (Added, Vec<Clamp>) {
        let before = sums(&self.account);
        self.account.allocate(now);
        let reading = DeviceReading { scopes: SCOPES, reading, own: None, at: now, has_viewer: None };
        let (values, clamps) = self.account.add(reading, max_gap);
        let after = sums(&self.account);
        let [busy, energy, gap, unsampled] = std::array::from_fn(|index| after[index] - before[index]);
        let sampled = (gap - unsampled).max(0.0);
        let is_timely = gap <= max_gap.as_secs_f64();
        let ratio = values.utilization.get(SCOPES.device).filter(|_| is_timely || sampled > MIN_SAMPLED);
        let observed = if is_timely { gap } else { sampled };
        (Added { busy, energy, ratio, is_timely, observed }, clamps)
    }
}

/// Busy seconds, joules, allocated seconds and unsampled seconds of an account.
fn sums(account: &Account) -> [f64; 4] {
    let busy = account.busy.get(SCOPES.device).unwrap_or_default();
    let energy = account.energy.get(SCOPES.card).unwrap_or_default();
    [busy, energy, account.allocated.unwrap_or_default(), account.unsampled]
}

/// The parts of the device's utilisation `ratio`, 0 to 1.
fn ratios(ratio: f64, used: &DeviceUse<'_>) -> ByOwner {
    let mut ratios = ByOwner::default();
    if used.is_exclusive() {
        ratios.add(OwnerKind::Session, ratio);
        return ratios;
    }
    for (owner, usage) in &used.owners {
        ratios.add(*owner, usage.part_of(ratio).unwrap_or_default());
    }
    ratios
}

/// The parts of the busy seconds. A reading that does not represent the time since the last one shows nothing about the processes
/// in this time.
fn busy_by_owner(added: &Added, used: &DeviceUse<'_>) -> ByOwner {
    let ratio = added.ratio.filter(|ratio| *ratio > 0.0 && (added.is_timely || used.is_exclusive()));
    let parts = ratio.map(|ratio| ratios(ratio, used).times(added.busy / ratio));
    ByOwner::split(added.busy, parts.unwrap_or_default())
}

/// The parts of the energy: the idle part of the time has this part of the energy, and the owners have the energy of the other time
/// by their parts of the work. All of it is [`OwnerKind::Unsampled`] if the utilisation is not known.
fn energy_by_owner(added: &Added, used: &DeviceUse<'_>) -> ByOwner {
    let Some(ratio) = added.ratio else { return ByOwner::split(added.energy, ByOwner::default()) };
    let mut parts = ratios(ratio, used).times(added.energy);
    parts.add(OwnerKind::Idle, added.energy * (1.0 - ratio));
    ByOwner::split(added.energy, parts)
}

/// The used bytes of the frame buffer by owner, and its size.
fn memory(reading: &Reading, used: &DeviceUse<'_>) -> Option<(ByOwner, u64)> {
    let memory = reading.memory.filter(|_| !used.device.mig_enabled)?;
    let bytes = memory.used.min(memory.total) as f64;
    let mut parts = ByOwner::default();
    if used.is_exclusive() {
        parts.add(OwnerKind::Session, bytes);
    } else {
        let known = used.owners.iter().filter_map(|(owner, usage)| Some((*owner, usage.memory?)));
        known.for_each(|(owner, memory)| parts.add(owner, memory as f64));
    }
    Some((ByOwner::split(bytes, parts), memory.total))
}

// === impl DeviceUse ===

impl DeviceUse<'_> {
    fn is_exclusive(&self) -> bool {
        self.sessions.is_some_and(|sessions| sessions.is_exclusive)
    }
}

// === impl DeviceCounters ===

impl DeviceCounters {
    /// The sessions of the device at the last poll; none if they are not known, and for a card with MIG enabled, because its
    /// slices have them.
    pub(super) fn sessions(&self) -> Option<DeviceSessions> {
        self.current?.sessions.filter(|_| !self.device.mig_enabled)
    }
}
