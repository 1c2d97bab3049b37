//! Totals of the sessions, by template, and by pair of template and pool.

mod histogram;
mod pairs;
mod slots;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use histogram::Observations;
pub(super) use pairs::CountsByPair;
pub(super) use slots::label;

use super::{
    end_reason::EndReason, ending::SessionEnd, live::Progressed, restarts::RestartReason,
    session::GroupNames, startup::Stage, time::UnixTime,
};
use crate::sessions::usage::{MissingReason, Usage};
use pairs::Pairs;
use slots::Slots;

/// Upper bounds of the histogram of durations, in seconds: 1, 5, 15, 30 minutes; 1, 4, 8, 12, 24 hours.
pub const BUCKETS: [f64; 9] = [60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 28800.0, 43200.0, 86400.0];

/// Upper bounds of the histogram of starts, in seconds.
pub const STARTUP_BUCKETS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Upper bounds of the histogram of peak memory, in bytes: 256 MiB to 128 GiB, each twice as large as the one before.
pub const MEMORY_BUCKETS: [f64; 10] = {
    let mut bounds = [0.0; 10];
    let mut index = 0;
    while index < 10 {
        bounds[index] = ((256_u64 << 20) << index) as f64;
        index += 1;
    }
    bounds
};

/// Totals of one template.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionTotals {
    /// Durations of the sessions that have ended, in seconds.
    pub durations: Observations<{ BUCKETS.len() }>,
    /// Sessions that have ended, by reason.
    pub ended: BTreeMap<EndReason, u64>,
    /// Restarts of desktop containers, by reason.
    pub restarts: BTreeMap<RestartReason, u64>,
    /// Restarts of the sidecar, by reason.
    pub sidecar_restarts: BTreeMap<RestartReason, u64>,
    /// Seconds from the creation of a pod to each stage of its start.
    pub startup: BTreeMap<Stage, Observations<{ STARTUP_BUCKETS.len() }>>,
    /// Runs of the sidecar whose totals are not known, by reason.
    pub missing: BTreeMap<MissingReason, u64>,
}

/// Totals of one pair of template and pool, of the sessions that have ended.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageTotals {
    /// Sums of the usage.
    pub usage: Usage,
    /// Peaks of the frame buffer of each session whose peak is known, in bytes.
    pub peaks: Observations<{ MEMORY_BUCKETS.len() }>,
}

/// The totals, and the label values of templates and pools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// The beginning of the ledger. A session that ended before is not counted.
    pub(super) since: UnixTime,
    /// Time of the latest event.
    pub(super) last_event: UnixTime,
    /// Sessions whose end no event has shown.
    pub(super) in_gaps: u64,
    templates: Slots<SessionTotals>,
    pools: Slots<()>,
    pairs: Pairs<UsageTotals>,
}

// === impl SessionTotals ===

impl SessionTotals {
    fn add(&mut self, progressed: &Progressed) {
        for restart in &progressed.restarts {
            let by_reason = if restart.is_sidecar { &mut self.sidecar_restarts } else { &mut self.restarts };
            *by_reason.entry(restart.reason).or_default() += u64::from(restart.count);
        }
        for (stage, seconds) in &progressed.stages {
            self.startup.entry(*stage).or_default().observe(&STARTUP_BUCKETS, *seconds);
        }
    }

    fn add_end(&mut self, end: &SessionEnd) {
        *self.ended.entry(end.reason).or_default() += 1;
        if let Some(seconds) = end.duration {
            self.durations.observe(&BUCKETS, seconds);
        }
        for (reason, count) in &end.missing {
            *self.missing.entry(*reason).or_default() += count;
        }
    }
}

// === impl Totals ===

impl Totals {
    /// Totals of 0 of a ledger that begins now.
    #[must_use]
    pub fn since(now: UnixTime) -> Self {
        Self {
            since: now,
            last_event: now,
            in_gaps: 0,
            templates: Slots::default(),
            pools: Slots::default(),
            pairs: Pairs::default(),
        }
    }

    /// Gives label values of their own to these templates and pools, and keeps them.
    pub(super) fn keep(&mut self, templates: &[String], pools: &[String]) {
        for template in self.templates.keep(templates) {
            self.pairs.remove_template(&template);
        }
        for pool in self.pools.keep(pools) {
            self.pairs.remove_pool(&pool);
        }
    }

    /// The totals by label value.
    pub(super) fn templates(&self) -> impl Iterator<Item = (&str, &SessionTotals)> {
        self.templates.all()
    }

    /// The label value of the template.
    pub(super) fn template<'s>(&'s self, names: &'s GroupNames) -> &'s str {
        self.templates.label(names.template.as_deref())
    }

    /// The label values of template and pool.
    pub(super) fn pair<'s>(&'s self, names: &'s GroupNames) -> (&'s str, &'s str) {
        (self.template(names), self.pools.label(names.pool.as_deref()))
    }

    /// The pairs of label values, with the totals of the sessions that have ended.
    pub(super) fn pairs(&self) -> impl Iterator<Item = ((&str, &str), &UsageTotals)> {
        self.pairs.all()
    }

    /// Counts what a state of a session shows for the first time.
    pub(super) fn seen(&mut self, names: &GroupNames, progressed: &Progressed) {
        self.templates.seen(names.template.as_deref()).add(progressed);
        self.pools.seen(names.pool.as_deref());
        let (template, pool) = self.labels(names);
        self.pairs.seen(&template, &pool);
    }

    /// Counts the end of a session.
    pub(super) fn ended(&mut self, names: &GroupNames, end: &SessionEnd, now: UnixTime) {
        self.templates.ended(names.template.as_deref(), now).add_end(end);
        self.pools.ended(names.pool.as_deref(), now);
        let (template, pool) = self.labels(names);
        let totals = self.pairs.ended(&template, &pool);
        totals.usage.add_run(&end.usage);
        if let Some(peak) = end.usage.peak {
            totals.peaks.observe(&MEMORY_BUCKETS, peak);
        }
    }

    fn labels(&self, names: &GroupNames) -> (String, String) {
        let (template, pool) = self.pair(names);
        (template.to_owned(), pool.to_owned())
    }

    /// Whether the end of a session with these names has no slot unless [`Self::age_out`] frees one.
    pub(super) fn wants_aged(&self, names: &GroupNames, now: UnixTime) -> bool {
        self.templates.wants_aged(names.template.as_deref(), now)
            || self.pools.wants_aged(names.pool.as_deref(), now)
    }

    /// Removes a template and a pool without sessions for a week, if these names need a slot. `in_use` are the names of all sessions.
    pub(super) fn age_out<'n>(
        &mut self,
        names: &GroupNames,
        in_use: impl Iterator<Item = &'n GroupNames>,
        now: UnixTime,
    ) {
        let (mut templates, mut pools) = (BTreeSet::new(), BTreeSet::new());
        for names in in_use {
            templates.insert(label(names.template.as_deref()));
            pools.insert(label(names.pool.as_deref()));
        }
        if self.templates.wants_aged(names.template.as_deref(), now)
            && let Some(template) = self.templates.free_aged(&templates, now)
        {
            self.pairs.remove_template(&template);
        }
        if self.pools.wants_aged(names.pool.as_deref(), now)
            && let Some(pool) = self.pools.free_aged(&pools, now)
        {
            self.pairs.remove_pool(&pool);
        }
    }
}
