//! The snapshot: the result of one poll as plain immutable data. A scrape encodes it.

use std::time::{Duration, SystemTime};

use super::{
    attribution::{
        Attribution, Confidence, EvidenceSource, NotApplicable, Sharing, Strategy, UnavailableReason,
    },
    config::SessionNames,
};
use crate::{
    gpu::{Device, Fault, ProcessKind, Reading, Versions},
    sampling::{
        bounds::Clamp,
        counters::{Account, DeviceScopes, ScopedValues},
        scope::Scope,
        streams::OwnStreams,
    },
};

/// Everything that the sidecar exposes after one poll.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Names of the session.
    pub session: SessionNames,
    /// Start of the session: the creation time of the pod's sandbox, or the start of the sidecar if that time cannot be read.
    pub started: SystemTime,
    /// Start of this run of the sidecar.
    pub run_started: SystemTime,
    /// How the session's devices were attributed, or why no device could be read.
    pub attribution: Result<AttributionInfo, UnavailableReason>,
    /// The strategies that were tried before, each with the reason why it does not apply.
    pub not_applicable: Vec<(Strategy, NotApplicable)>,
    /// The session's devices that were read.
    pub gpus: Vec<Gpu>,
    /// UUIDs of the session's devices that could not be read, with the reasons. Empty if no device could be read. A UUID is empty
    /// if the driver has never given it.
    pub lost: Vec<(String, UnavailableReason)>,
    /// UUIDs of the devices that a process of the session uses and that are not assigned to the session. Only the node agent knows it.
    pub unassigned: Vec<String>,
    /// One account for each device that was allocated or exposed since the sidecar started, including released devices.
    pub accounts: Vec<Account>,
    /// Time, duration and success of the last poll; none before the first poll has ended.
    pub collection: Option<Collection>,
    /// Number of NVML calls since the sidecar started, including failed calls.
    pub calls: u64,
    /// Number of failed calls since the sidecar started, by call and code.
    pub faults: Vec<(Fault, u64)>,
    /// Number of values out of range since the sidecar started, by kind.
    pub clamped: Vec<(Clamp, u64)>,
    /// Number of polls that could not read evidence since the sidecar started, by evidence.
    pub unreadable: Vec<(EvidenceSource, u64)>,
    /// Versions of the library that was opened last, and of its driver.
    pub versions: Versions,
    /// Whether this is the last snapshot, because the session has ended.
    pub ended: bool,
}

/// How the session's devices were attributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributionInfo {
    /// The strategy that applies.
    pub strategy: Strategy,
    /// Widest scope of the devices' values.
    pub scope: Scope,
    /// How reliable the attribution is.
    pub confidence: Confidence,
}

/// A device of the session that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// The device.
    pub device: Device,
    /// How the device is shared.
    pub sharing: Sharing,
    /// Scopes of the device's values.
    pub scopes: DeviceScopes,
    /// Values from the driver, without the samples.
    pub reading: Reading,
    /// Clamped values by scope.
    pub values: ScopedValues,
    /// Encoder sessions and captures of the session's own processes on a shared card. Nothing for a card that is not shared, because
    /// the values in `reading` are then the session's.
    pub own_streams: OwnStreams,
    /// Number of the session's own processes on the device by kind; none if the process lists cannot be used.
    pub processes: Option<[(ProcessKind, usize); 2]>,
}

/// Time, duration and success of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Time at which the poll ended.
    pub at: SystemTime,
    /// Time from the start of the poll to its end. Contains the opening of the library if this poll opened it.
    pub duration: Duration,
    /// Whether all devices of the session were read, with every value that the devices support, and all evidence. Also true if
    /// the session has no device.
    pub success: bool,
}

// === impl Snapshot ===

impl Snapshot {
    /// The snapshot before the first poll. `started` is the start of the session, `now` the start of this run of the sidecar.
    #[must_use]
    pub fn before_the_first_poll(session: SessionNames, started: SystemTime, now: SystemTime) -> Self {
        Self {
            session,
            started,
            run_started: now,
            attribution: Err(UnavailableReason::Starting),
            not_applicable: vec![],
            gpus: vec![],
            lost: vec![],
            unassigned: vec![],
            accounts: vec![],
            collection: None,
            calls: 0,
            faults: vec![],
            clamped: vec![],
            unreadable: vec![],
            versions: Versions::default(),
            ended: false,
        }
    }
}

// === impl AttributionInfo ===

impl AttributionInfo {
    /// Summary of an attribution.
    #[must_use]
    pub fn of(attribution: &Attribution) -> Self {
        Self {
            strategy: attribution.strategy,
            scope: attribution.scope(),
            confidence: attribution.confidence,
        }
    }
}
