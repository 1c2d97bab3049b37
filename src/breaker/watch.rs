//! The watch of injected pods that have not started. It is small even in a cluster with many sessions.

use std::time::Duration;

use futures_util::StreamExt;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};
use tokio::time::interval;

use super::{
    lookups::{Lookups, PodLookup},
    observed::{ObservedPod, SidecarCondition},
    read,
    shared::SharedBreaker,
    state::BreakerState,
};
use crate::{
    cluster,
    contract::key,
    runtime::clock,
    sessions::pod::{self, WatchedPod},
};

const NOT_STARTED: &str = "status.phase=Pending";

/// A sidecar has started if it still runs this long after it was seen to run: one that exits at once is seen too.
const STABLE: Duration = Duration::from_secs(5);
const MIN_RUN_SECONDS: i64 = 4;

/// Time between two lookups of a blocked pod that the watch does not show: a sidecar that exits at once blocks the readiness of
/// the pod, but the kubelet may start the desktop.
const RECHECK: Duration = Duration::from_secs(60);

/// Time between two evaluations without an event.
const TICK: Duration = Duration::from_secs(1);

/// Keeps the breaker up to date. Returns only if the stream of events ends, which does not happen.
pub(super) async fn follow(client: Client, breaker: &SharedBreaker) {
    let api = Api::<WatchedPod>::all_with(client.clone(), &pod::resource());
    let injected = format!("{}=true", key::INJECTED);
    let mut pods = Box::pin(cluster::selected_events(api, &injected, NOT_STARTED));
    let (mut lookups, mut ticks) = (Lookups::new(client), interval(TICK));
    breaker.evaluate();
    loop {
        let is_evidence = tokio::select! {
            event = pods.next() => match event {
                Some(event) => apply(breaker, &mut lookups, event),
                None => return,
            },
            lookup = lookups.next() => {
                apply_lookup(breaker, &mut lookups, lookup);
                true
            }
            _ = ticks.tick() => true,
        };
        if is_evidence {
            breaker.evaluate();
        }
    }
}

/// Returns whether the event can open a circuit.
fn apply(breaker: &SharedBreaker, lookups: &mut Lookups, event: watcher::Result<Event<WatchedPod>>) -> bool {
    let mut core = breaker.lock();
    match event {
        Ok(Event::Init) => core.state.begin_list(),
        Ok(Event::InitApply(pod) | Event::Apply(pod)) => {
            let Some(pod) = read::observed(&pod) else { return false };
            core.state.observe(&pod, clock::unix_seconds());
            match pod.sidecar {
                SidecarCondition::Blocks(_) => return true,
                SidecarCondition::Runs(_) => plan(&core.state, lookups, pod, STABLE),
                SidecarCondition::Other => {}
            }
        }
        Ok(Event::InitDone) => {
            for pod in core.state.end_list() {
                lookups.plan(pod, STABLE, true);
            }
        }
        // The pod has started, has ended or was deleted. The object of the event is the one from before.
        Ok(Event::Delete(pod)) => {
            if let Some(pod) = read::observed(&pod) {
                plan(&core.state, lookups, pod, STABLE);
            }
        }
        Err(error) => tracing::warn!(%error, "Cannot watch injected pods that have not started; retrying"),
    }
    false
}

fn plan(state: &BreakerState, lookups: &mut Lookups, pod: ObservedPod, delay: Duration) {
    let is_blocked = state.is_blocked(&pod.uid);
    lookups.plan(pod, delay, is_blocked);
}

fn apply_lookup(breaker: &SharedBreaker, lookups: &mut Lookups, lookup: PodLookup) {
    let (mut core, now) = (breaker.lock(), clock::unix_seconds());
    match lookup {
        PodLookup::Gone(pod) => core.state.gone(&pod.uid, now),
        PodLookup::Failed(pod) => plan(&core.state, lookups, pod, RECHECK),
        PodLookup::Found(pod) => match pod.sidecar {
            SidecarCondition::Runs(since) if now - since >= MIN_RUN_SECONDS => core.state.start(&pod, now),
            SidecarCondition::Runs(_) => plan(&core.state, lookups, pod, STABLE),
            SidecarCondition::Blocks(_) => {
                core.state.observe(&pod, now);
                if !pod.is_pending {
                    lookups.plan(pod, RECHECK, true);
                }
            }
            // The pod has ended, or is about to.
            SidecarCondition::Other if !pod.is_pending => core.state.gone(&pod.uid, now),
            SidecarCondition::Other => {}
        },
    }
}
