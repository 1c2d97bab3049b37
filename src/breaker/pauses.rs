//! The open circuits as admission sees them: an immutable value. Only the times of the trial pods change in it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use super::{
    circuit::TRIAL_INTERVAL,
    state::{BreakerState, CircuitScope},
};
use crate::admission::InjectionRequest;

/// The pauses of injection.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Hash of the configuration whose pods failed.
    config: Box<str>,
    all: Option<Arc<NextTrial>>,
    /// By template; empty: pods without a template.
    templates: HashMap<Box<str>, Arc<NextTrial>>,
}

/// The time from which the next trial pod of a circuit may be injected, in Unix milliseconds.
#[derive(Debug)]
struct NextTrial(AtomicI64);

// === impl Pauses ===

impl Pauses {
    /// The pauses for the current state. A circuit that stays open keeps the time of its next trial pod, except if the state
    /// has a later one.
    pub(super) fn next(&self, state: &BreakerState) -> Self {
        let mut next = Self { config: state.config().into(), ..Self::default() };
        for (scope, open) in state.open() {
            let earlier = match &scope {
                CircuitScope::All => self.all.as_ref(),
                CircuitScope::Template(template) => self.templates.get(template),
            };
            let trial = earlier.filter(|_| self.config == next.config).cloned();
            let trial = trial.unwrap_or_else(|| Arc::new(NextTrial(AtomicI64::new(0))));
            trial.0.fetch_max(open.next_trial * 1000, Relaxed);
            match scope {
                CircuitScope::All => next.all = Some(trial),
                CircuitScope::Template(template) => drop(next.templates.insert(template, trial)),
            }
        }
        next
    }

    /// Whether the pod gets no sidecar. `now` is in Unix milliseconds.
    pub(super) fn apply_to(&self, request: &InjectionRequest<'_>, now: i64) -> bool {
        if *self.config != *request.config {
            return false;
        }
        let template = || self.templates.get(request.template.unwrap_or_default());
        let Some(trial) = self.all.as_ref().or_else(template) else { return false };
        request.is_dry_run || !trial.take(now)
    }
}

// === impl NextTrial ===

impl NextTrial {
    /// Whether this pod is the next trial pod. Of several pods at the same time only one is.
    fn take(&self, now: i64) -> bool {
        let next = self.0.load(Relaxed);
        now >= next && self.0.compare_exchange(next, now + TRIAL_INTERVAL * 1000, Relaxed, Relaxed).is_ok()
    }
}
