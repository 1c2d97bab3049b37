//! One circuit: decides from starts and failures of sidecars whether injection pauses for a group of pods. Times are Unix
//! seconds.
//!
//! * A pod *fails* when its sidecar keeps it from starting; each pod counts once.
//! * A node *works* if the last sidecar on it has started, within [`START_MEMORY`].
//! * The circuit opens when [`MIN_PODS`] pods fail, on two or more nodes that are a fifth or more of the nodes with evidence; or
//!   on one node, if no other node works for [`ONE_NODE_DELAY`]. So one node with a fault does not open it, but the only node of a
//!   cluster does.
//! * A start on a node forgets the failures on this node: the node has recovered.
//! * An open circuit closes when a node recovers, or when [`STARTS_TO_CLOSE`] pods that were created while it was open have
//!   started in a row.

use std::collections::{BTreeMap, BTreeSet};

/// Pods that must fail. One or two can have a fault of their own, and each further pod is a user who waits.
pub(super) const MIN_PODS: usize = 3;

/// Templates that must fail before injection pauses for all: a fault of one template has the template's own circuit.
pub(super) const MIN_TEMPLATES: usize = 3;

/// The failing nodes are at least one of this number of nodes.
const MIN_SHARE: usize = 5;

/// How long a start shows that a node works: the kubelet's longest pause between two attempts to pull an image.
pub(super) const START_MEMORY: i64 = 300;

/// Time after the first failure on the only failing node. A failure is often known earlier than a start, and this replica may have
/// just begun to watch.
pub(super) const ONE_NODE_DELAY: i64 = 15;

/// How long the failure of a pod counts after the pod was deleted. A broker can replace a pod that does not start.
pub(super) const DELETED_MEMORY: i64 = 600;

/// Starts in a row that close an open circuit if they are on other nodes than the failures.
pub(super) const STARTS_TO_CLOSE: u32 = 3;

/// Time between two trial pods. After each trial that fails it doubles, up to the kubelet's own longest pause: each trial can
/// keep a user waiting.
pub(super) const TRIAL_INTERVAL: i64 = 60;
pub(super) const MAX_TRIAL_INTERVAL: i64 = 300;

/// Failures and nodes that are remembered.
const MAX_FAILURES: usize = 1000;
const MAX_NODES: usize = 200;

/// The evidence about a group of pods, and whether injection pauses for it.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// The pods that count, by UID.
    failures: BTreeMap<Box<str>, Failure>,
    /// UIDs of pods that still fail but do not count any more.
    forgotten: BTreeSet<Box<str>>,
    /// Nodes that work, with the time of their last start.
    working: BTreeMap<Box<str>, i64>,
    open: Option<OpenState>,
}

/// A pod that failed.
#[derive(Debug)]
struct Failure {
    node: Box<str>,
    template: Box<str>,
    since: i64,
    deleted: Option<i64>,
}

/// The state of an open circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenState {
    /// Time at which the circuit opened.
    pub(super) since: i64,
    /// Starts since the last failure.
    starts: u32,
    failed_trials: u32,
    /// Time before which no trial pod may be injected.
    pub(super) next_trial: i64,
}

/// How many pods fail, and on how many nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) pods: usize,
    pub(super) nodes: usize,
}

// === impl Circuit ===

impl Circuit {
    pub(super) const fn open_state(&self) -> Option<OpenState> {
        self.open
    }

    /// Whether it has neither failures nor is open, so that it can be dropped.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none() && self.failures.is_empty() && self.forgotten.is_empty()
    }

    /// A pod fails. Does nothing if the pod has counted already.
    pub(super) fn fail(&mut self, uid: &str, node: &str, template: &str, created: i64, now: i64) {
        let is_known = self.failures.contains_key(uid) || self.forgotten.contains(uid);
        if is_known || self.failures.len() >= MAX_FAILURES {
            return;
        }
        self.working.remove(node);
        self.failures.insert(
            uid.into(),
            Failure { node: node.into(), template: template.into(), since: now, deleted: None },
        );
        if let Some(open) = &mut self.open {
            open.starts = 0;
            if created > open.since {
                open.failed_trials += 1;
                open.next_trial = open.next_trial.max(now + interval(open.failed_trials));
            }
        }
    }

    /// A pod has started. Returns whether this closes the circuit.
    pub(super) fn start(&mut self, node: &str, created: i64, now: i64) -> bool {
        let has_recovered = self.forget(|failure| &*failure.node == node);
        if self.working.len() < MAX_NODES || self.working.contains_key(node) {
            self.working.insert(node.into(), now);
        }
        let Some(open) = &mut self.open else { return false };
        if created > open.since {
            open.starts += 1;
        }
        let closes = has_recovered || open.starts >= STARTS_TO_CLOSE;
        if closes {
            self.open = None;
            self.forget(|_| true);
        }
        closes
    }

    /// The pod has started, ended or was deleted. A failure of a deleted pod counts for a while.
    pub(super) fn gone(&mut self, uid: &str, now: i64) {
        self.forgotten.remove(uid);
        if let Some(failure) = self.failures.get_mut(uid) {
            failure.deleted.get_or_insert(now);
        }
    }

    /// Forgets old evidence and opens the circuit if enough pods fail. Returns the extent of the failures if it opens.
    pub(super) fn evaluate(&mut self, min_templates: usize, now: i64) -> Option<Extent> {
        self.working.retain(|_, last| now - *last <= START_MEMORY);
        if self.open.is_some() {
            return None;
        }
        let is_old = |failure: &Failure| failure.deleted.is_some_and(|at| now - at > DELETED_MEMORY);
        self.failures.retain(|_, failure| !is_old(failure));
        if !self.has_tripped(min_templates, now) {
            return None;
        }
        let next_trial = now + interval(0);
        self.open = Some(OpenState { since: now, starts: 0, failed_trials: 0, next_trial });
        Some(Extent { pods: self.failures.len(), nodes: self.distinct(|failure| &failure.node) })
    }

    fn has_tripped(&self, min_templates: usize, now: i64) -> bool {
        if self.failures.len() < MIN_PODS || self.distinct(|failure| &failure.template) < min_templates {
            return false;
        }
        // A node with a failure is not among the nodes that work.
        let (failing, working) = (self.distinct(|failure| &failure.node), self.working.len());
        if failing > 1 {
            return failing * MIN_SHARE >= failing + working;
        }
        let first = self.failures.values().map(|failure| failure.since).min();
        working == 0 && first.is_some_and(|first| now - first >= ONE_NODE_DELAY)
    }

    fn distinct(&self, of: impl Fn(&Failure) -> &str) -> usize {
        self.failures.values().map(of).collect::<BTreeSet<_>>().len()
    }

    /// The pods of these failures do not count any more. Returns whether there were any.
    fn forget(&mut self, is_forgotten: impl Fn(&Failure) -> bool) -> bool {
        let before = self.failures.len();
        let forgotten = &mut self.forgotten;
        self.failures.retain(|uid, failure| {
            let keeps = !is_forgotten(failure);
            if !keeps && failure.deleted.is_none() {
                forgotten.insert(uid.clone());
            }
            keeps
        });
        self.failures.len() < before
    }
}

/// Time until the next trial pod, after this number of failed trials.
fn interval(failed_trials: u32) -> i64 {
    (TRIAL_INTERVAL << failed_trials.min(8)).min(MAX_TRIAL_INTERVAL)
}
