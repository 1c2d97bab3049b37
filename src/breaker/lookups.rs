//! Reads single pods again: the watch of pods that have not started shows neither how a pod leaves it, nor whether a sidecar
//! that has just started keeps running.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until, timeout};

use super::{observed::ObservedPod, read};
use crate::sessions::pod::{self, WatchedPod};

/// Pods that wait for a lookup. While there are more, only blocked pods are added: the starts of some pods are enough to see
/// that nodes work.
const MAX_WAITING: usize = 200;

/// Lookups at the same time.
const MAX_CONCURRENT: usize = 4;

/// Timeout for one lookup.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The planned lookups.
pub(super) struct Lookups {
    client: Client,
    /// By their times; the number distinguishes lookups at the same time.
    planned: BTreeMap<(Instant, u64), ObservedPod>,
    /// UIDs of the planned and running lookups.
    uids: BTreeSet<Box<str>>,
    running: FuturesUnordered<BoxFuture<'static, PodLookup>>,
    number: u64,
}

/// The result of a lookup of a pod.
#[derive(Debug)]
pub(super) enum PodLookup {
    Found(ObservedPod),
    /// The pod was deleted.
    Gone(ObservedPod),
    /// The API server did not answer; has the last known state.
    Failed(ObservedPod),
}

// === impl Lookups ===

impl Lookups {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            planned: BTreeMap::new(),
            uids: BTreeSet::new(),
            running: FuturesUnordered::new(),
            number: 0,
        }
    }

    /// Plans a lookup, unless one is planned already.
    pub(super) fn plan(&mut self, pod: ObservedPod, delay: Duration, is_blocked: bool) {
        let has_space = is_blocked || self.planned.len() < MAX_WAITING;
        if has_space && self.uids.insert(pod.uid.clone()) {
            self.number += 1;
            self.planned.insert((Instant::now() + delay, self.number), pod);
        }
    }

    /// The next result. A caller may drop the future.
    pub(super) async fn next(&mut self) -> PodLookup {
        loop {
            let due = self.planned.keys().next().map(|(due, _)| *due);
            let due = due.filter(|_| self.running.len() < MAX_CONCURRENT);
            let wait = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                Some(lookup) = self.running.next(), if !self.running.is_empty() => {
                    self.uids.remove(&lookup.pod().uid);
                    return lookup;
                }
                () = wait => {
                    if let Some((_, pod)) = self.planned.pop_first() {
                        self.running.push(Box::pin(look_up(self.client.clone(), pod)));
                    }
                }
            }
        }
    }
}

async fn look_up(client: Client, known: ObservedPod) -> PodLookup {
    let api = Api::<WatchedPod>::namespaced_with(client, &known.namespace, &pod::resource());
    match timeout(TIMEOUT, api.get_opt(&known.name)).await {
        Ok(Ok(found)) => match found.as_ref().and_then(read::observed).filter(|pod| pod.uid == known.uid) {
            Some(pod) => PodLookup::Found(pod),
            None => PodLookup::Gone(known),
        },
        Ok(Err(error)) => {
            tracing::debug!(%error, namespace = &*known.namespace, pod = &*known.name, "Cannot read a pod");
            PodLookup::Failed(known)
        }
        Err(_elapsed) => PodLookup::Failed(known),
    }
}

// === impl PodLookup ===

impl PodLookup {
    const fn pod(&self) -> &ObservedPod {
        match self {
            Self::Found(pod) | Self::Gone(pod) | Self::Failed(pod) => pod,
        }
    }
}
