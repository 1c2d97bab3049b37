//! The ledger: what is known of every session pod, and the totals of those that ended.
//!
//! Pure: pods and the time come in as arguments, numbers come out. A session is counted once, however often its end is
//! seen.

use std::collections::{BTreeMap, HashMap, HashSet};

/// Upper bounds of the duration histogram, in seconds: 1, 5, 15, 30 minutes; 1, 4, 8, 12, 24 hours.
pub const BUCKETS: [f64; 9] = [60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 28800.0, 43200.0, 86400.0];

/// Template of a session that names none.
const NO_TEMPLATE: &str = "none";

/// Stands for further templates once [`MOST_TEMPLATES`] are known. A template is a label value that whoever creates pods
/// can choose; this bounds what they can do to the exposition.
const OTHER_TEMPLATE: &str = "other";
const MOST_TEMPLATES: usize = 200;

/// Whole seconds since 1970, the resolution of Kubernetes' own times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub i64);

/// A session pod as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Identifies the session.
    pub uid: String,
    /// What it was made from.
    pub template: Option<String>,
    /// Kubernetes' phase.
    pub phase: Phase,
    /// When the node took the pod on; `None` while none of its desktop's containers has run.
    pub started: Option<UnixTime>,
    /// When the last of its desktop's containers ended; `None` while one runs.
    pub finished: Option<UnixTime>,
    /// When it was to be gone, where somebody deleted it.
    pub deleted: Option<UnixTime>,
    /// What its end was, should it have ended.
    pub ending: Ending,
}

/// Kubernetes' phases of a pod, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Its desktop exited with 0, or somebody deleted it.
    Orderly,
    /// A failure, and which.
    Failure(Failure),
}

/// Why a session failed. These words are label values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// A desktop container exited with another code than 0.
    Error,
    /// A desktop container was ended for its memory.
    OutOfMemory,
    /// Its place was needed for something else, by the kubelet or the scheduler.
    Evicted,
    /// The pod had a deadline and reached it.
    DeadlineExceeded,
    /// The node is gone or going.
    NodeLost,
    /// The node would not take the pod.
    Rejected,
}

/// Sessions by pod, and totals by template.
#[derive(Debug)]
pub struct Ledger {
    since: UnixTime,
    sessions: HashMap<String, Session>,
    listing: Option<HashSet<String>>,
    listed: bool,
    totals: BTreeMap<String, Totals>,
}

#[derive(Debug)]
struct Session {
    pod: Pod,
    counted: bool,
}

/// Ended sessions of one template.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Totals {
    /// How long they lasted.
    pub durations: Durations,
    /// How many failed, by what.
    pub failures: BTreeMap<Failure, u64>,
}

/// A histogram over [`BUCKETS`].
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Durations {
    /// Observations in each bucket alone; those above the last bound are in none.
    pub buckets: [u64; BUCKETS.len()],
    /// Number of all observations.
    pub count: u64,
    /// Sum of all observations, in seconds.
    pub sum: f64,
}

// === impl Ledger ===

impl Ledger {
    /// An empty ledger. What it never saw alive and ended before `since` was counted by whoever ran then.
    #[must_use]
    pub fn since(since: UnixTime) -> Self {
        Self { since, sessions: HashMap::new(), listing: None, listed: false, totals: BTreeMap::new() }
    }

    /// A pod exists or has changed.
    pub fn seen(&mut self, pod: Pod, now: UnixTime) {
        if let Some(listed) = &mut self.listing {
            listed.insert(pod.uid.clone());
        }
        let template = self.template(&pod);
        self.totals.entry(template).or_default();
        let known = self.sessions.get(&pod.uid);
        let counted = known.is_some_and(|session| session.counted);
        if pod.has_ended() && !counted && (known.is_some() || pod.end(now) >= self.since) {
            self.count(&pod, now);
        }
        let counted = counted || pod.has_ended();
        self.sessions.insert(pod.uid.clone(), Session { pod, counted });
    }

    /// A pod is gone; `pod` is its last state. One that neither ended nor was deleted has only lost the label by which
    /// it is found: it is forgotten until it has it again.
    pub fn gone(&mut self, pod: &Pod, now: UnixTime) {
        if !self.forget(pod) && (pod.has_ended() || pod.deleted.is_some()) {
            self.count(pod, now);
        }
    }

    /// From here on every pod that exists is seen once more.
    pub fn begin_list(&mut self) {
        self.listing = Some(HashSet::new());
    }

    /// Every pod that exists has been seen; others that were known went while nobody watched.
    pub fn end_list(&mut self, now: UnixTime) {
        let Some(listed) = self.listing.take() else { return };
        self.listed = true;
        let missed: Vec<Pod> = self
            .sessions
            .values()
            .map(|session| &session.pod)
            .filter(|pod| !listed.contains(&pod.uid))
            .cloned()
            .collect();
        for pod in missed {
            if !self.forget(&pod) {
                self.count(&pod, now);
            }
        }
    }

    /// How many sessions are in a phase now; `None` until they have all been seen once.
    #[must_use]
    pub fn in_phase(&self, phase: Phase) -> Option<usize> {
        self.listed.then(|| self.sessions.values().filter(|session| session.pod.phase == phase).count())
    }

    /// Totals by template, for every template that was seen.
    #[must_use]
    pub fn totals(&self) -> &BTreeMap<String, Totals> {
        &self.totals
    }

    /// Whether it had been counted.
    fn forget(&mut self, pod: &Pod) -> bool {
        self.sessions.remove(&pod.uid).is_some_and(|session| session.counted)
    }

    fn count(&mut self, pod: &Pod, now: UnixTime) {
        let template = self.template(pod);
        let totals = self.totals.entry(template).or_default();
        if let Some(started) = pod.started {
            totals.durations.observe(started, pod.end(now));
        }
        if let Ending::Failure(failure) = pod.ending {
            *totals.failures.entry(failure).or_default() += 1;
        }
    }

    fn template(&self, pod: &Pod) -> String {
        let named = pod.template.as_deref().filter(|template| !template.is_empty()).unwrap_or(NO_TEMPLATE);
        let known = self.totals.contains_key(named) || self.totals.len() < MOST_TEMPLATES;
        if known { named } else { OTHER_TEMPLATE }.to_owned()
    }
}

// === impl Pod ===

impl Pod {
    fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// The end of a pod that has ended: its containers' word, else the time it was to be gone, else `now`. A deletion
    /// time lies a whole grace period after the deletion, so it can be ahead of the end.
    fn end(&self, now: UnixTime) -> UnixTime {
        self.finished.or(self.deleted).map_or(now, |end| end.min(now))
    }
}

// === impl Durations ===

impl Durations {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a session are far below 2^52")]
    fn observe(&mut self, started: UnixTime, ended: UnixTime) {
        // Two clocks: the node's wrote the start, and the end may be ours.
        let seconds = (ended.0 - started.0).max(0) as f64;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }
}

// === impl Phase ===

impl Phase {
    /// Every phase, so that each has a series at all times.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Succeeded, Self::Failed, Self::Unknown];

    /// The word for labels, and Kubernetes' own.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}

// === impl Failure ===

impl Failure {
    /// Every failure, so that each has a series before it first happens and `increase()` sees it happen.
    pub const ALL: [Self; 6] = [
        Self::Error,
        Self::OutOfMemory,
        Self::Evicted,
        Self::DeadlineExceeded,
        Self::NodeLost,
        Self::Rejected,
    ];

    /// The word for labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::OutOfMemory => "out_of_memory",
            Self::Evicted => "evicted",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NodeLost => "node_lost",
            Self::Rejected => "rejected",
        }
    }
}

#[cfg(test)]
mod tests;
