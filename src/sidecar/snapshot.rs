//! What a scrape shows: plain immutable data, made whole by the poller.

use std::time::{Duration, SystemTime};

use super::{
    attribution::{Attribution, Reason},
    config::Session,
    counters::Busy,
};
use crate::gpu::{Fault, Sample};

/// Everything that is known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whose desktop this is.
    pub session: Session,
    /// When the sidecar started, which is just before the desktop does.
    pub started: SystemTime,
    /// The session's device as last read, or why there is none.
    pub gpu: Result<Gpu, Reason>,
    /// Busy seconds of every device that was the session's since the start, a lost one too.
    pub busy: Vec<Busy>,
    /// The last read; none before the first has ended.
    pub collection: Option<Collection>,
    /// Failed calls since the start.
    pub faults: Vec<(Fault, u64)>,
    /// Version of the NVML library that was last opened.
    pub nvml_version: Option<String>,
}

/// A device that is the session's.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// UUID, `GPU-` and 36 characters.
    pub uuid: String,
    /// How we know that it is ours.
    pub attribution: Attribution,
    /// Kernel driver's version.
    pub driver_version: Option<String>,
    /// What was read from it.
    pub sample: Sample,
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
