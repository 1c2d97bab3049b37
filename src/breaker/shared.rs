//! The breaker that several tasks use: the watch changes it; scrapes and Events read it; admission reads only its snapshot.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;

use super::{
    pauses::Pauses,
    state::{BreakerState, CircuitScope, Transition},
};
use crate::{
    admission::{InjectionGate, InjectionRequest},
    runtime::clock,
};

/// The active configuration, as far as the breaker needs it.
#[derive(Debug, Clone, Default)]
pub struct BreakerConfiguration {
    /// Hash of the configuration.
    pub hash: String,
    /// Whether it has `paused: true`.
    pub is_paused: bool,
}

/// A breaker. Clones refer to the same one.
#[derive(Clone)]
pub(super) struct SharedBreaker {
    configuration: Arc<dyn Fn() -> BreakerConfiguration + Send + Sync>,
    core: Arc<Mutex<BreakerCore>>,
    pauses: Arc<ArcSwap<Pauses>>,
}

#[derive(Debug, Default)]
pub(super) struct BreakerCore {
    pub(super) state: BreakerState,
    /// Circuits that have opened since the start of the server: of all pods, and of a template.
    pub(super) opened: [u64; 2],
    /// Changes without an Event.
    unannounced: Vec<Transition>,
}

/// Changes that wait for an Event. Further ones get none.
const MAX_UNANNOUNCED: usize = 100;

// === impl SharedBreaker ===

impl SharedBreaker {
    /// Calls the function whenever the active configuration is needed, about each second.
    pub(super) fn new(configuration: impl Fn() -> BreakerConfiguration + Send + Sync + 'static) -> Self {
        Self { configuration: Arc::new(configuration), core: Arc::default(), pauses: Arc::default() }
    }

    pub(super) fn configuration(&self) -> BreakerConfiguration {
        (self.configuration)()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BreakerCore> {
        // Every method of the state leaves a valid state before it can panic, so a poisoned state is still valid.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens and closes circuits by the current evidence, and shows the result to admission.
    pub(super) fn evaluate(&self) {
        let (configuration, now) = (self.configuration(), clock::unix_seconds());
        let mut core = self.lock();
        core.state.activate(&configuration.hash, now);
        for transition in core.state.evaluate(now) {
            log(&transition);
            match &transition {
                Transition::Opened(CircuitScope::All, _) => core.opened[0] += 1,
                Transition::Opened(CircuitScope::Template(_), _) => core.opened[1] += 1,
                Transition::Closed(_) => {}
            }
            if core.unannounced.len() < MAX_UNANNOUNCED {
                core.unannounced.push(transition);
            }
        }
        let pauses = self.pauses.load().next(&core.state);
        self.pauses.store(Arc::new(pauses));
    }

    /// The changes since the last call.
    pub(super) fn take_unannounced(&self) -> Vec<Transition> {
        mem::take(&mut self.lock().unannounced)
    }
}

impl InjectionGate for SharedBreaker {
    fn is_paused(&self, request: &InjectionRequest<'_>) -> bool {
        let now = i64::try_from(clock::unix_now().as_millis()).unwrap_or(i64::MAX);
        self.pauses.load().apply_to(request, now)
    }
}

impl fmt::Debug for SharedBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBreaker").field("pauses", &self.pauses).finish_non_exhaustive()
    }
}

fn log(transition: &Transition) {
    match transition {
        Transition::Opened(scope, extent) => tracing::error!(
            %scope,
            pods = extent.pods,
            nodes = extent.nodes,
            "Injection is paused, because sidecars keep pods from starting; see the Events with the reason SidecarBlocksPod"
        ),
        Transition::Closed(scope) => tracing::info!(%scope, "Injection has resumed"),
    }
}

// === impl CircuitScope ===

impl fmt::Display for CircuitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all pods"),
            Self::Template(template) if template.is_empty() => f.write_str("pods without a template"),
            Self::Template(template) => write!(f, "template {template}"),
        }
    }
}
