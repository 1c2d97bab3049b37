//! The watch of LimitRanges and ResourceQuotas.

use arc_swap::ArcSwap;
use futures_util::{StreamExt, stream::select};
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use kube::{Api, Client};

use super::store::{LimitEvent, LimitStore};
use crate::{admission::Namespaces, cluster};

/// Keeps `namespaces` up to date as long as the future is polled. Calls `complete` when both lists are complete for the first
/// time.
pub async fn follow(client: Client, namespaces: &ArcSwap<Namespaces>, complete: impl FnOnce() + Send) {
    let ranges = cluster::events(Api::<LimitRange>::all(client.clone()), "");
    let quotas = cluster::events(Api::<ResourceQuota>::all(client), "");
    let ranges = ranges.map(|event| event.map(LimitEvent::Range));
    let quotas = quotas.map(|event| event.map(LimitEvent::Quota));
    let mut events = Box::pin(select(ranges, quotas));
    let mut store = LimitStore::default();
    let mut complete = Some(complete);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                store.apply(event, namespaces);
                if let Some(complete) = complete.take_if(|_| store.is_complete()) {
                    complete();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "Cannot watch LimitRanges and ResourceQuotas; retrying");
            }
        }
    }
}
