//! The watch that feeds the ledger. It retries for ever and never holds anything up.

use std::time::SystemTime;

use futures_util::{StreamExt, pin_mut};
use kube::{
    Api, Client,
    api::ApiResource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};

use super::{
    Sessions,
    ledger::UnixTime,
    pod::{self, Pod},
};
use crate::contract::key;

/// Follows every session pod of the cluster.
pub(super) async fn follow(client: Client, sessions: Sessions) {
    let pods = Api::<Pod>::all_with(client, &ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()));
    let config = watcher::Config::default().labels(&format!("{}=true", key::INJECTED));
    let events = watcher(pods, config).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => apply(&sessions, event),
            Err(error) => tracing::warn!(%error, "Cannot watch session pods, trying again"),
        }
    }
}

fn apply(sessions: &Sessions, event: Event<Pod>) {
    let now = now();
    let mut ledger = sessions.ledger();
    match event {
        Event::Init => ledger.begin_list(),
        Event::InitApply(pod) | Event::Apply(pod) => {
            if let Some(pod) = pod::read(&pod) {
                ledger.seen(pod, now);
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

/// The present, in the ledger's terms.
pub(super) fn now() -> UnixTime {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
}
