//! The watch that feeds the ledger.

use futures_util::{StreamExt, pin_mut};
use kube::{Api, Client, api::ApiResource, runtime::watcher::Event};

use super::{
    ledger::UnixTime,
    pod::{self, WatchedPod},
    shared::SharedLedger,
};
use crate::{cluster, contract::key, runtime::clock};

/// Follows every session pod of the cluster. Returns only if the stream of events ends, which does not happen.
pub(super) async fn follow(client: Client, ledger: &SharedLedger) {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let pods = Api::<WatchedPod>::all_with(client, &resource);
    let events = cluster::events(pods, &format!("{}=true", key::INJECTED));
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => apply(ledger, event),
            Err(error) => tracing::warn!(%error, "Cannot watch session pods; retrying"),
        }
    }
}

fn apply(ledger: &SharedLedger, event: Event<WatchedPod>) {
    let now = now();
    let mut ledger = ledger.lock();
    match event {
        Event::Init => ledger.begin_list(),
        Event::InitApply(pod) | Event::Apply(pod) => {
            if let Some(pod) = pod::read(&pod) {
                ledger.seen(&pod, now);
            }
        }
        Event::InitDone => ledger.end_list(now),
        Event::Delete(pod) => {
            if let Some(pod) = pod::read(&pod) {
                ledger.gone(&pod, now);
            }
        }
    }
}

/// The current time.
pub(super) fn now() -> UnixTime {
    UnixTime(i64::try_from(clock::unix_now().as_secs()).unwrap_or(i64::MAX))
}
