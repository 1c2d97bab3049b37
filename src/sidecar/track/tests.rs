//! Tests of every change of a device's state. The session of a test is polled every 15 s.

use std::time::{Duration, Instant};

use super::{
    publication::Publication,
    state::DeviceState,
    tracker::{MAX_ACCOUNTS, Track},
};
use crate::{
    gpu::{Call, Code, Device, Fault, Reading, ReopenReason, Slice, StreamStats, XidEvent, id},
    sampling::{
        counters::Account,
        observation::{DeviceObservation, DeviceValues},
        processes::OwnUsage,
        scope::Scope,
        streams::OwnStreams,
    },
    sidecar::{
        attribution::{
            Attribution, AttributionResult, Confidence, NotApplicable, SessionDevice, Sharing, Strategy,
            UnavailableReason,
        },
        observation::{DeviceView, ExpectedDevices, Observation},
    },
};

mod absence;
mod allocation;
mod idle;
mod node_totals;

const A: &str = "GPU-aaaaaaaa-0000-0000-0000-000000000000";
const B: &str = "GPU-bbbbbbbb-0000-0000-0000-000000000000";
const SLICE: &str = "MIG-cccccccc-0000-0000-0000-000000000000";

const INTERVAL: Duration = Duration::from_secs(15);
const LOST: Fault = Fault { call: Call::Memory, code: Code::GpuLost };
const OWN_SESSIONS: StreamStats = StreamStats { sessions: 1, frames: 60, latency: 4000 };
const NO_UUID: Fault = Fault { call: Call::Uuid, code: Code::GpuLost };

/// The input of one poll.
#[derive(Clone, Debug)]
struct Poll {
    visible: Vec<Device>,
    without_uuid: Vec<Fault>,
    /// Reason of any device to reopen the library.
    reopen: Option<ReopenReason>,
    has_claim: bool,
    named: String,
    in_environments: String,
    with_processes: Vec<String>,
    outcome: Result<(Strategy, Scope, Vec<&'static str>), UnavailableReason>,
    /// Visible devices that cannot be read.
    unreadable: Vec<&'static str>,
    is_incomplete: bool,
}

/// A session and its current time. Each poll moves the time by [`INTERVAL`].
struct Session {
    track: Track,
    now: Instant,
    /// Time between two observations of the source; none if it is [`INTERVAL`].
    poll_interval: Option<Duration>,
    /// Whether a viewer is connected.
    has_viewer: Option<bool>,
}

/// A poll that attributes these visible devices to the session.
fn attributed(strategy: Strategy, uuids: &[&'static str]) -> Poll {
    Poll { outcome: Ok((strategy, Scope::Session, uuids.to_vec())), ..visible(uuids) }
}

/// A poll that shows these devices and attributes none.
fn visible(uuids: &[&'static str]) -> Poll {
    let device = |(index, uuid): (usize, &&str)| Device {
        uuid: (*uuid).into(),
        index: index as u32,
        ..Device::default()
    };
    Poll {
        visible: uuids.iter().enumerate().map(device).collect(),
        without_uuid: vec![],
        reopen: None,
        has_claim: false,
        named: String::new(),
        in_environments: String::new(),
        with_processes: vec![],
        outcome: Err(UnavailableReason::NoDevice),
        unreadable: vec![],
        is_incomplete: false,
    }
}

// === impl Poll ===

impl Poll {
    fn also_shows(mut self, uuid: &str) -> Self {
        let index = self.visible.len() as u32;
        self.visible.push(Device { uuid: uuid.into(), index, minor: Some(index), ..Device::default() });
        self
    }

    fn session_device(&self, uuid: &str, scope: Scope) -> SessionDevice {
        let index = self.visible.iter().position(|device| device.uuid == uuid).unwrap();
        SessionDevice { index, sharing: Sharing::Exclusive, scope }
    }

    fn attribution(&self) -> Result<Attribution, UnavailableReason> {
        let (strategy, scope, uuids) = self.outcome.clone()?;
        let devices = uuids.iter().map(|uuid| self.session_device(uuid, scope)).collect();
        Ok(Attribution { strategy, confidence: Confidence::Exact, devices, has_more: false })
    }

    fn reading(&self, uuid: &'static str, at: Instant) -> DeviceObservation {
        // Without samples, the utilisation is used.
        let reading = Reading { utilization: Some(1.0), energy: Some(1), ..Reading::default() };
        let streams = OwnStreams { encoding: Some(OWN_SESSIONS), ..OwnStreams::default() };
        let own = Some(OwnUsage { newest_sample: 7, streams, ..OwnUsage::default() });
        let values = DeviceValues { reading, own, is_incomplete: self.is_incomplete };
        let values = if self.unreadable.contains(&uuid) { Err(LOST) } else { Ok(values) };
        DeviceObservation { uuid: uuid.into(), at, values }
    }
}

// === impl Session ===

impl Session {
    fn new() -> Self {
        Self { track: Track::new(INTERVAL), now: Instant::now(), poll_interval: None, has_viewer: None }
    }

    /// A session after these polls.
    fn after(polls: &[Poll]) -> Self {
        let mut session = Self::new();
        polls.iter().for_each(|poll| drop(session.poll(poll)));
        session
    }

    fn poll(&mut self, poll: &Poll) -> Publication {
        self.now += INTERVAL;
        let uuids = poll.outcome.as_ref().map_or(vec![], |(_, _, uuids)| uuids.clone());
        let observation = Observation {
            at: self.now,
            interval: self.poll_interval,
            view: DeviceView {
                visible: &poll.visible,
                without_uuid: &poll.without_uuid,
                reopen: poll.reopen,
                expected: ExpectedDevices {
                    has_claim: poll.has_claim,
                    named: &id::list(&poll.named).unwrap(),
                    with_processes: &poll.with_processes,
                    in_environments: &id::list(&poll.in_environments).unwrap(),
                },
            },
            attribution: AttributionResult {
                outcome: poll.attribution(),
                not_applicable: vec![(Strategy::Claim, NotApplicable::NotGiven)],
            },
            readings: uuids.into_iter().map(|uuid| poll.reading(uuid, self.now)).collect(),
        };
        self.track.observe(observation, self.has_viewer)
    }

    fn driver_unavailable(&mut self) -> Publication {
        self.now += INTERVAL;
        self.track.driver_unavailable(
            UnavailableReason::DriverNotLoaded,
            ExpectedDevices::default(),
            self.now,
        )
    }

    fn state(&self, uuid: &str) -> Option<DeviceState> {
        self.track.states().iter().find(|(other, _)| other == uuid).map(|(_, state)| *state)
    }

    fn account(&self, uuid: &str) -> &Account {
        self.track.accounts().iter().find(|account| account.gpu == uuid).unwrap()
    }

    /// Allocated and unsampled seconds.
    fn seconds(&self, uuid: &str) -> (Option<f64>, f64) {
        let account = self.account(uuid);
        (account.allocated, account.unsampled)
    }
}

fn uuids(publication: &Publication) -> Vec<&str> {
    publication.gpus.iter().map(|gpu| gpu.device.uuid.as_str()).collect()
}
