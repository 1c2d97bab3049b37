//! The state machine: keeps the states and the accounts of all devices.

use std::time::{Duration, Instant};

use super::{
    absence,
    publication::Publication,
    state::{DeviceState, DeviceStates},
};
use crate::{
    gpu::{Device, Fault, ProcessKind, XidEvent},
    sampling::{
        bounds,
        counters::{Account, CallTotals, DeviceReading, DeviceScopes},
        observation::{DeviceObservation, DeviceValues},
        processes::OwnUsage,
        scope::Scope,
    },
    sidecar::{
        attribution::{Attribution, AttributionResult, SessionDevice, Strategy, UnavailableReason},
        observation::{DeviceView, ExpectedDevices, Observation},
        snapshot::{AttributionInfo, Gpu},
    },
};

/// The session's devices and their counters.
#[derive(Debug)]
pub(in crate::sidecar) struct Track {
    /// Time between two polls of the sidecar.
    interval: Duration,
    /// Maximum time between two readings for which the later one represents this time.
    max_gap: Duration,
    /// Whether a viewer is connected at the observation that is being added; none if it is not known.
    has_viewer: Option<bool>,
    states: DeviceStates,
    accounts: Vec<Account>,
    totals: CallTotals,
    /// Time and publication of the last observation.
    last: Option<(Instant, Publication)>,
}

/// Maximum number of accounts and of missing devices, so that the driver cannot fill the memory. It is twice the maximum number
/// of devices of a session, for the devices that the session had before.
pub(super) const MAX_ACCOUNTS: usize = 128;

// === impl Track ===

impl Track {
    /// A track without devices. `interval` is the time between two polls of the sidecar. After a gap of more than two intervals
    /// between readings, time without samples counts as idle.
    pub(in crate::sidecar) fn new(interval: Duration) -> Self {
        let (states, accounts, totals) = (vec![], vec![], CallTotals::default());
        Self { interval, max_gap: 2 * interval, has_viewer: None, states, accounts, totals, last: None }
    }

    /// One account for each device that was allocated or exposed since the sidecar started.
    pub(in crate::sidecar) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The states of all devices.
    #[cfg(test)]
    pub(super) fn states(&self) -> &DeviceStates {
        &self.states
    }

    /// Calls, failed calls and clamped values since the sidecar started.
    pub(in crate::sidecar) fn totals(&self) -> &CallTotals {
        &self.totals
    }

    /// Time of the newest process sample that is already counted for the device. `scope` is the device's scope in this poll. If
    /// the device was not allocated before this poll, the time is 0, because earlier samples do not belong to the session. With
    /// the scope `Node` this does not apply, because the device is read without an allocation.
    pub(in crate::sidecar) fn newest_process_sample(&self, uuid: &str, scope: Scope) -> u64 {
        let account = self.accounts.iter().find(|account| account.gpu == uuid);
        let is_continued = |account: &&Account| account.is_allocated() || scope == Scope::Node;
        account.filter(is_continued).map_or(0, Account::newest_process_sample)
    }

    /// The account of a device whose buffer of samples was full at the last answer; none for other devices.
    pub(in crate::sidecar) fn account_with_full_buffer(&mut self, uuid: &str) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.gpu == uuid && account.buffered_time().is_some())
    }

    /// Processes a poll in which the driver answered: moves all devices to their next states and adds the readings. An observation
    /// that is not later than the last one is a report of the node agent that was read before, or an older one. It changes nothing.
    /// `has_viewer`: whether a viewer is connected to the desktop; none if it is not known.
    pub(in crate::sidecar) fn observe(
        &mut self,
        observation: Observation<'_>,
        has_viewer: Option<bool>,
    ) -> Publication {
        self.has_viewer = has_viewer;
        let at = observation.at;
        match &self.last {
            Some((last, publication)) if at <= *last => publication.clone(),
            _ => {
                let publication = self.add_observation(observation);
                self.last = Some((at, publication.clone()));
                publication
            }
        }
    }

    fn add_observation(&mut self, observation: Observation<'_>) -> Publication {
        let Observation { at, interval, view, attribution, readings } = observation;
        self.max_gap = 2 * self.interval.max(interval.unwrap_or_default());
        let AttributionResult { outcome, not_applicable } = attribution;
        let outcome = outcome.and_then(|attribution| self.without_replacements(attribution, view));
        let mut states = absence::missing(&self.states, view);
        // The driver may give other UUIDs at each opening. Missing devices must not fill the memory then.
        states.truncate(MAX_ACCOUNTS);
        if let Ok(attribution) = &outcome {
            let never_visible = absence::never_visible(attribution.strategy, &states, view);
            states.extend(attributed(attribution, view, &readings));
            states.extend(never_visible);
        }
        states.extend(self.released(&states));
        self.enter(states, at);
        match outcome {
            Ok(attribution) => {
                let (gpus, has_all_values) = self.add_readings(&attribution, view, readings);
                let info = AttributionInfo::of(&attribution);
                let publication =
                    Publication::attributed(info, not_applicable, &self.states, view, gpus, has_all_values);
                let leaves_out = attribution.has_more || self.has_device_without_account();
                if leaves_out { publication.with_devices_left_out() } else { publication }
            }
            Err(reason) => Publication::not_attributed(reason, &self.states, not_applicable, view),
        }
    }

    /// Processes a poll in which the driver did not answer: devices stay allocated, and their time is unsampled. If `expected`
    /// names other devices, a device is released.
    pub(in crate::sidecar) fn driver_unavailable(
        &mut self,
        reason: UnavailableReason,
        expected: ExpectedDevices<'_>,
        now: Instant,
    ) -> Publication {
        for (uuid, state) in &mut self.states {
            if state.is_allocated() && absence::is_replaced(uuid, expected) {
                *state = DeviceState::Released;
                self.accounts.iter_mut().filter(|account| account.gpu == *uuid).for_each(Account::release);
            }
        }
        self.accounts.iter_mut().for_each(|account| account.carry_over(now));
        self.states.iter_mut().for_each(|(_, state)| *state = state.without_driver(reason));
        Publication::unavailable(reason)
    }

    /// Ends the session. The devices stay allocated up to `now`, and the time since the last reading is unsampled. The last report of
    /// the node agent can be older than its interval.
    pub(in crate::sidecar) fn end(&mut self, now: Instant) {
        self.accounts.iter_mut().for_each(|account| account.carry_over(now));
    }

    /// Counts a fault of a card, for each allocated device of the card.
    pub(in crate::sidecar) fn add_xid(&mut self, event: &XidEvent) {
        let accounts = self.accounts.iter_mut().filter(|account| account.is_allocated());
        for account in accounts.filter(|account| event.devices.contains(&account.gpu)) {
            account.add_xid(event.code);
        }
    }

    /// Adds the number of calls of a poll and their failures.
    pub(in crate::sidecar) fn add_calls(&mut self, calls: u64, faults: &[Fault]) {
        self.totals.add_calls(calls, faults);
    }

    /// The attribution without devices that have replaced a device of the session. Suppose that no evidence names devices, that a
    /// device of the session is not visible any more, and that a new device is visible. The new device belongs to another pod: a
    /// container keeps its devices, but a new slice can replace a destroyed slice.
    fn without_replacements(
        &self,
        mut attribution: Attribution,
        view: DeviceView<'_>,
    ) -> Result<Attribution, UnavailableReason> {
        let is_by_visibility = match attribution.strategy {
            Strategy::SingleDevice => true,
            Strategy::Claim => view.expected.named.is_empty(),
            _ => false,
        };
        let mut earlier = self.accounts.iter().filter(|account| account.allocated.is_some());
        if is_by_visibility && earlier.any(|account| !view.shows(&account.gpu)) {
            let uuid = |device: &SessionDevice| &view.visible[device.index].uuid;
            attribution.devices.retain(|device| {
                self.accounts
                    .iter()
                    .any(|account| account.gpu == *uuid(device) && account.allocated.is_some())
            });
        }
        if attribution.devices.is_empty() { Err(UnavailableReason::NotVisible) } else { Ok(attribution) }
    }

    /// Devices that have an account and are not in `next`, with the state `Released`.
    fn released(&self, next: &DeviceStates) -> DeviceStates {
        let uuids = self.accounts.iter().map(|account| &account.gpu);
        let released = uuids.filter(|uuid| next.iter().all(|(other, _)| other != *uuid));
        released.map(|uuid| (uuid.clone(), DeviceState::Released)).collect()
    }

    /// Moves all devices to `states` and counts their time up to `now`.
    fn enter(&mut self, states: DeviceStates, now: Instant) {
        for (uuid, state) in &states {
            let Some(account) = self.account(uuid, *state) else { continue };
            if state.unavailable_reason().is_some() {
                account.discard_samples();
            }
            match state {
                DeviceState::Read => account.allocate(now),
                DeviceState::Unread(_) | DeviceState::Missing(_) => {
                    account.allocate(now);
                    account.mark_unsampled();
                }
                DeviceState::ShownOnly { .. } => account.show_only(),
                DeviceState::Released | DeviceState::NeverVisible(_) => account.release(),
            }
        }
        self.states = states;
    }

    /// The account of a device. A new account is created if the device is allocated or exposed for the first time. None if the
    /// device has no account and needs none, or if there are [`MAX_ACCOUNTS`].
    fn account(&mut self, uuid: &str, state: DeviceState) -> Option<&mut Account> {
        let index = self.accounts.iter().position(|account| account.gpu == uuid);
        if index.is_none() && state.is_counted() && self.accounts.len() < MAX_ACCOUNTS {
            self.accounts.push(Account::new(uuid));
            return self.accounts.last_mut();
        }
        self.accounts.get_mut(index?)
    }

    /// Whether a device has no account, because there are [`MAX_ACCOUNTS`].
    fn has_device_without_account(&self) -> bool {
        let has_account = |uuid: &String| self.accounts.iter().any(|account| account.gpu == *uuid);
        self.states.iter().any(|(uuid, state)| state.is_counted() && !has_account(uuid))
    }

    /// Adds the readings to the accounts. Returns the devices that were read. The second value is true if these devices returned
    /// all values that they support.
    fn add_readings(
        &mut self,
        attribution: &Attribution,
        view: DeviceView<'_>,
        readings: Vec<DeviceObservation>,
    ) -> (Vec<Gpu>, bool) {
        let mut has_all_values = true;
        let mut gpus = vec![];
        for observed in readings {
            let is_same = |device: &&SessionDevice| view.visible[device.index].uuid == observed.uuid;
            let Some(device) = attribution.devices.iter().find(is_same) else { continue };
            if let Ok(values) = observed.values {
                has_all_values &= !values.is_incomplete;
                let visible = view.visible[device.index].clone();
                gpus.push(self.add(visible, device, values, observed.at));
            }
        }
        (gpus, has_all_values)
    }

    /// Adds the values of a device to its account. Returns the device with the values to publish.
    fn add(&mut self, device: Device, session: &SessionDevice, observed: DeviceValues, at: Instant) -> Gpu {
        let DeviceValues { mut reading, own, .. } = observed;
        self.totals.add_clamps(&bounds::remove_impossible(&mut reading));
        let scopes = DeviceScopes { device: session.scope, card: session.card_scope(&device) };
        let account = self.accounts.iter_mut().find(|account| account.gpu == device.uuid);
        let has_viewer = self.has_viewer;
        let pending = DeviceReading { scopes, reading: &reading, own: own.as_ref(), at, has_viewer };
        let (values, clamps) = account.map(|account| account.add(pending, self.max_gap)).unwrap_or_default();
        self.totals.add_clamps(&clamps);
        // The account has added the samples, and no series needs them any more.
        reading.samples = None;
        Gpu {
            device,
            sharing: session.sharing,
            scopes,
            reading,
            values,
            processes: own.as_ref().map(count_processes),
            own_streams: own
                .filter(|_| scopes.card != Scope::Session)
                .map(|own| own.streams)
                .unwrap_or_default(),
        }
    }
}

/// The states of the attributed devices. A device without a reading error is `Read`.
fn attributed(
    attribution: &Attribution,
    view: DeviceView<'_>,
    readings: &[DeviceObservation],
) -> DeviceStates {
    let is_node = attribution.scope() == Scope::Node;
    let state = |device: &SessionDevice| {
        let uuid = &view.visible[device.index].uuid;
        let observed = readings.iter().find(|observed| observed.uuid == *uuid);
        let fault = observed.and_then(|observed| observed.values.as_ref().err());
        let unread = fault.map(|fault| UnavailableReason::from(*fault));
        let state = match unread {
            _ if is_node => DeviceState::ShownOnly { unread },
            None => DeviceState::Read,
            Some(reason) => DeviceState::Unread(reason),
        };
        (uuid.clone(), state)
    };
    attribution.devices.iter().map(state).collect()
}

/// Number of the session's own processes by kind.
fn count_processes(own: &OwnUsage) -> [(ProcessKind, usize); 2] {
    [ProcessKind::Compute, ProcessKind::Graphics]
        .map(|kind| (kind, own.processes.iter().filter(|(_, other)| *other == kind).count()))
}
