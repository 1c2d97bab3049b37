//! What a scrape shows: plain immutable data, made whole by the poller.

use std::time::{Duration, SystemTime};

use super::{
    attribution::{Confidence, NotApplicable, Scope, SessionDevice, Strategy, UnavailableReason},
    config::SessionNames,
};
use crate::{
    gpu::{Device, Fault, ProcessKind, Reading, Versions},
    sampling::counters::{Account, Clamp, Shown},
};

/// Everything that is known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whose desktop this is.
    pub session: SessionNames,
    /// When the pod started, as far as its files say; else when the sidecar did.
    pub started: SystemTime,
    /// When this run of the sidecar started.
    pub run_started: SystemTime,
    /// How the session's devices are known, or why none is.
    pub attribution: Result<AttributionInfo, UnavailableReason>,
    /// The strategies tried before, each with the reason why it does not apply.
    pub not_applicable: Vec<(Strategy, NotApplicable)>,
    /// The session's devices as last read.
    pub gpus: Vec<Gpu>,
    /// Those that could not be read; one that the driver has never named without a name.
    pub lost: Vec<(String, UnavailableReason)>,
    /// What every device did that was the session's since the start, a lost one too.
    pub accounts: Vec<Account>,
    /// The last read; none before the first has ended.
    pub collection: Option<Collection>,
    /// Calls of the library since the start, and failed ones by kind.
    pub calls: u64,
    /// Failed calls since the start.
    pub faults: Vec<(Fault, u64)>,
    /// Values that could not be, since the start.
    pub clamped: Vec<(Clamp, u64)>,
    /// Versions of what was last opened.
    pub versions: Versions,
    /// Whether this is the last one: the session is over.
    pub ended: bool,
}

/// How the session's devices are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributionInfo {
    /// By which rung.
    pub strategy: Strategy,
    /// What the values of all of them stand for.
    pub scope: Scope,
    /// How far that can be trusted.
    pub confidence: Confidence,
}

/// A device that is the session's.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Which it is.
    pub device: Device,
    /// How it is ours.
    pub ours: SessionDevice,
    /// What was read from it.
    pub reading: Reading,
    /// The same, made ready.
    pub shown: Shown,
    /// How many processes of the session have it, by kind; none where they are not seen.
    pub processes: Option<[(ProcessKind, usize); 2]>,
}

/// How one read went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// When it ended.
    pub at: SystemTime,
    /// How long its calls took.
    pub duration: Duration,
    /// Whether a device was read and gave every value that it supports.
    pub success: bool,
}

// === impl Gpu ===

impl Gpu {
    /// What a value of the whole card stands for.
    #[must_use]
    pub fn card_scope(&self) -> Scope {
        self.ours.card_scope(&self.device)
    }
}
