//! Totals of the sessions, by template.

mod histogram;
mod pairs;
mod slots;

use std::collections::BTreeMap;

pub use histogram::SecondsHistogram;
pub(super) use pairs::CountsByPair;

use super::{
    end_reason::EndReason, ending::SessionEnd, live::Progressed, restarts::RestartReason,
    session::GroupNames, startup::Stage,
};
use pairs::Pairs;
use slots::{Merge, Slots};

/// Upper bounds of the histogram of durations, in seconds: 1, 5, 15, 30 minutes; 1, 4, 8, 12, 24 hours.
pub const BUCKETS: [f64; 9] = [60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 28800.0, 43200.0, 86400.0];

/// Upper bounds of the histogram of starts, in seconds.
pub const STARTUP_BUCKETS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Totals of one template.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct SessionTotals {
    /// Durations of the sessions that have ended.
    pub durations: SecondsHistogram<{ BUCKETS.len() }>,
    /// Sessions that have ended, by reason.
    pub ended: BTreeMap<EndReason, u64>,
    /// Restarts of desktop containers, by reason.
    pub restarts: BTreeMap<RestartReason, u64>,
    /// Restarts of the sidecar, by reason.
    pub sidecar_restarts: BTreeMap<RestartReason, u64>,
    /// Time from the creation of a pod to each stage of its start.
    pub startup: BTreeMap<Stage, SecondsHistogram<{ STARTUP_BUCKETS.len() }>>,
}

/// Totals by template, and the label values of templates and pools.
#[derive(Debug, Default)]
pub(super) struct Totals {
    templates: Slots<SessionTotals>,
    pools: Slots<()>,
    pairs: Pairs,
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
}

impl Merge for SessionTotals {
    fn merge(&mut self, other: Self) {
        self.durations.merge(&other.durations);
        add_all(&mut self.ended, other.ended);
        add_all(&mut self.restarts, other.restarts);
        add_all(&mut self.sidecar_restarts, other.sidecar_restarts);
        for (stage, histogram) in other.startup {
            self.startup.entry(stage).or_default().merge(&histogram);
        }
    }
}

fn add_all<K: Ord>(counts: &mut BTreeMap<K, u64>, others: BTreeMap<K, u64>) {
    for (key, count) in others {
        *counts.entry(key).or_default() += count;
    }
}

// === impl Totals ===

impl Totals {
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

    /// The pairs of label values of the sessions that have ended.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.all()
    }

    /// Counts what a state of a session shows for the first time.
    pub(super) fn seen(&mut self, names: &GroupNames, progressed: &Progressed) {
        self.templates.seen(names.template.as_deref()).add(progressed);
        self.pools.seen(names.pool.as_deref());
    }

    /// Counts the end of a session.
    pub(super) fn ended(&mut self, names: &GroupNames, end: SessionEnd) {
        let totals = self.templates.ended(names.template.as_deref());
        *totals.ended.entry(end.reason).or_default() += 1;
        if let Some(seconds) = end.duration {
            totals.durations.observe(&BUCKETS, seconds);
        }
        self.pools.ended(names.pool.as_deref());
        let (template, pool) =
            (self.template(names).to_owned(), self.pools.label(names.pool.as_deref()).to_owned());
        self.pairs.insert(template, pool);
    }
}
