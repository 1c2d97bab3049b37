//! The state of the breaker: the pods that do not start, and a circuit for each template and for all of them. Times are Unix
//! seconds.
//!
//! Only pods of the active configuration count, so every circuit is reset after a change of the configuration: the change can be the repair.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    circuit::{Circuit, Extent, MIN_TEMPLATES, OpenState},
    observed::{ObservedPod, SidecarCondition},
    reason::BlockReason,
};

/// A pod counts if it fails at most this long after the kubelet has accepted it. Later it is not the start of a session: for example,
/// the node was restarted, or this replica has just started and lists pods that have failed for days.
const MAX_START: i64 = 600;

/// Templates with a circuit. The creator of a pod chooses the template. The pods of further templates count for all of them only.
const MAX_TEMPLATES: usize = 200;

/// Blocked pods that are remembered, of about 500 bytes each.
const MAX_BLOCKED: usize = 10_000;

/// The pods that do not start because of the sidecar, and the circuits.
#[derive(Debug, Default)]
pub(super) struct BreakerState {
    /// Hash of the active configuration.
    config: Box<str>,
    /// By UID.
    blocked: BTreeMap<Box<str>, BlockedPod>,
    /// UIDs of the list that the watch is receiving.
    listed: Option<BTreeSet<Box<str>>>,
    all: Circuit,
    templates: BTreeMap<Box<str>, Circuit>,
    /// The circuits that a start has closed since the last evaluation.
    closed: Vec<CircuitScope>,
}

/// A pod that does not start because of the sidecar.
#[derive(Debug)]
pub(super) struct BlockedPod {
    pub(super) pod: ObservedPod,
    pub(super) reason: BlockReason,
    /// Since when it is known.
    pub(super) since: i64,
    /// Whether it failed during its start.
    counts: bool,
}

/// The pods of a circuit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CircuitScope {
    /// All pods.
    All,
    /// The pods of a template; empty: the pods without a template.
    Template(Box<str>),
}

/// A circuit that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transition {
    Opened(CircuitScope, Extent),
    Closed(CircuitScope),
}

// === impl BreakerState ===

impl BreakerState {
    /// Sets the hash of the active configuration. With another hash, every circuit begins without evidence but the pods of this
    /// configuration that are known.
    pub(super) fn activate(&mut self, config: &str, now: i64) {
        if *self.config == *config {
            return;
        }
        self.config = config.into();
        self.closed.extend(self.open().map(|(scope, _)| scope).collect::<Vec<_>>());
        (self.all, self.templates) = (Circuit::default(), BTreeMap::new());
        for (uid, blocked) in std::mem::take(&mut self.blocked) {
            self.count(&blocked, now);
            self.blocked.insert(uid, blocked);
        }
    }

    /// Hash of the active configuration.
    pub(super) fn config(&self) -> &str {
        &self.config
    }

    /// Applies a pod that has not started yet, or whose start is over.
    pub(super) fn observe(&mut self, pod: &ObservedPod, now: i64) {
        match pod.sidecar {
            SidecarCondition::Blocks(reason) => self.block(pod, reason, now),
            SidecarCondition::Runs(_) | SidecarCondition::Other => self.see(&pod.uid),
        }
    }

    /// The sidecar of this pod runs and has not ended at once.
    pub(super) fn start(&mut self, pod: &ObservedPod, now: i64) {
        if pod.config == self.config && !pod.node.is_empty() {
            let scopes = [
                Some(CircuitScope::Template(pod.template.clone())),
                (!pod.has_overrides).then_some(CircuitScope::All),
            ];
            for scope in scopes.into_iter().flatten() {
                let closes = self.circuit(&scope).is_some_and(|it| it.start(&pod.node, pod.created, now));
                self.closed.extend(closes.then_some(scope));
            }
        }
        self.gone(&pod.uid, now);
    }

    /// The pod does not wait for its sidecar any more, or was deleted.
    pub(super) fn gone(&mut self, uid: &str, now: i64) {
        if self.blocked.remove(uid).is_some() {
            self.all.gone(uid, now);
            self.templates.values_mut().for_each(|circuit| circuit.gone(uid, now));
        }
    }

    /// A list of all pods that have not started begins.
    pub(super) fn begin_list(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// The list is complete. The blocked pods that it does not have are returned; they may have started.
    pub(super) fn end_list(&mut self) -> Vec<ObservedPod> {
        let listed = self.listed.take().unwrap_or_default();
        let unlisted = self.blocked.values().filter(|blocked| !listed.contains(&blocked.pod.uid));
        unlisted.map(|blocked| blocked.pod.clone()).collect()
    }

    /// Opens circuits. Returns all changes since the last call.
    pub(super) fn evaluate(&mut self, now: i64) -> Vec<Transition> {
        let mut transitions: Vec<_> = self.closed.drain(..).map(Transition::Closed).collect();
        if let Some(extent) = self.all.evaluate(MIN_TEMPLATES, now) {
            transitions.push(Transition::Opened(CircuitScope::All, extent));
        }
        for (template, circuit) in &mut self.templates {
            if let Some(extent) = circuit.evaluate(1, now) {
                transitions.push(Transition::Opened(CircuitScope::Template(template.clone()), extent));
            }
        }
        transitions
    }

    /// The open circuits.
    pub(super) fn open(&self) -> impl Iterator<Item = (CircuitScope, OpenState)> {
        let templates = self.templates.iter();
        let templates =
            templates.map(|(template, circuit)| (CircuitScope::Template(template.clone()), circuit));
        let all = std::iter::once((CircuitScope::All, &self.all));
        all.chain(templates).filter_map(|(scope, circuit)| Some((scope, circuit.open_state()?)))
    }

    /// The pods that do not start because of the sidecar, by UID.
    pub(super) fn blocked(&self) -> impl Iterator<Item = &BlockedPod> {
        self.blocked.values()
    }

    /// Whether the sidecar keeps this pod from starting.
    pub(super) fn is_blocked(&self, uid: &str) -> bool {
        self.blocked.contains_key(uid)
    }

    fn see(&mut self, uid: &str) {
        if let Some(listed) = &mut self.listed {
            listed.insert(uid.into());
        }
    }

    fn block(&mut self, pod: &ObservedPod, reason: BlockReason, now: i64) {
        self.see(&pod.uid);
        let earlier = self.blocked.get(&pod.uid).map(|blocked| (blocked.counts, blocked.since));
        if earlier.is_none() && self.blocked.len() >= MAX_BLOCKED {
            return;
        }
        let fails_at_start = || now - pod.accepted.unwrap_or(pod.created) <= MAX_START;
        let (counts, since) = earlier.unwrap_or_else(|| (fails_at_start(), now));
        let blocked = BlockedPod { pod: pod.clone(), reason, since, counts };
        self.count(&blocked, now);
        self.blocked.insert(pod.uid.clone(), blocked);
    }

    /// A pod with overrides counts for its template only: its creator could have chosen an image that does not exist.
    fn count(&mut self, blocked: &BlockedPod, now: i64) {
        let BlockedPod { pod, counts, .. } = blocked;
        if !counts || pod.config != self.config || pod.node.is_empty() {
            return;
        }
        let scopes = [
            Some(CircuitScope::Template(pod.template.clone())),
            (!pod.has_overrides).then_some(CircuitScope::All),
        ];
        for scope in scopes.into_iter().flatten() {
            if let Some(circuit) = self.circuit(&scope) {
                circuit.fail(&pod.uid, &pod.node, &pod.template, pod.created, now);
            }
        }
    }

    /// The circuit of a scope. `None` if it is a new template and no other template can be dropped.
    fn circuit(&mut self, scope: &CircuitScope) -> Option<&mut Circuit> {
        let CircuitScope::Template(template) = scope else { return Some(&mut self.all) };
        if !self.templates.contains_key(template) && self.templates.len() >= MAX_TEMPLATES {
            let idle = self.templates.iter().find(|(_, circuit)| circuit.is_idle());
            let idle = idle.map(|(template, _)| template.clone())?;
            self.templates.remove(&idle);
        }
        Some(self.templates.entry(template.clone()).or_default())
    }
}
