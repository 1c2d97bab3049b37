//! The publication of one poll: plain immutable data that a scrape encodes.

use std::time::{Duration, SystemTime};

use super::{
    attribution::{Attribution, Confidence, NotApplicable, Sharing, Strategy, UnavailableReason},
    config::SessionNames,
};
use crate::{
    gpu::{Device, Fault, ProcessKind, Reading, Versions},
    sampling::{
        counters::{Account, Clamp, DeviceScopes, ScopedValues},
        scope::Scope,
    },
};

/// Result of one poll: everything that the sidecar publishes.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Names of the session.
    pub session: SessionNames,
    /// When the pod started, by its files; when the sidecar started, if the files do not contain it.
    pub started: SystemTime,
    /// When this run of the sidecar started.
    pub run_started: SystemTime,
    /// How the session's devices were attributed, or why there are none.
    pub attribution: Result<AttributionInfo, UnavailableReason>,
    /// The strategies tried before, each with the reason why it does not apply.
    pub not_applicable: Vec<(Strategy, NotApplicable)>,
    /// The session's devices that were read.
    pub gpus: Vec<Gpu>,
    /// The session's devices that could not be read, by UUID; the UUID is empty if the driver has never given it.
    pub lost: Vec<(String, UnavailableReason)>,
    /// Sums for each device that was allocated or shown since the sidecar started, released devices included.
    pub accounts: Vec<Account>,
    /// The last poll; none before the first one has ended.
    pub collection: Option<Collection>,
    /// Calls of the library since the sidecar started.
    pub calls: u64,
    /// Failed calls since the sidecar started, by kind.
    pub faults: Vec<(Fault, u64)>,
    /// Clamped values since the sidecar started, by kind.
    pub clamped: Vec<(Clamp, u64)>,
    /// Versions of the library and the driver that were opened last.
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
    /// How far the strategy can be trusted.
    pub confidence: Confidence,
}

/// A device of the session that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// The device.
    pub device: Device,
    /// How the device is shared.
    pub sharing: Sharing,
    /// Scopes of its values.
    pub scopes: DeviceScopes,
    /// The driver's values, without its samples.
    pub reading: Reading,
    /// Values by scope.
    pub values: ScopedValues,
    /// Number of the session's processes on the device by kind; none if the sidecar cannot see them.
    pub processes: Option<[(ProcessKind, usize); 2]>,
}

/// Course of the last poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Time at which the poll ended.
    pub at: SystemTime,
    /// Duration of the calls.
    pub duration: Duration,
    /// Whether all devices of the session were read, with every value that they support.
    pub success: bool,
}

// === impl Snapshot ===

impl Snapshot {
    /// The snapshot before the first poll of a run that starts at `now`.
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
            accounts: vec![],
            collection: None,
            calls: 0,
            faults: vec![],
            clamped: vec![],
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
