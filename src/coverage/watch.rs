//! The watches of namespaces, pods and the webhook configuration. All of them receive metadata only.

use std::{collections::BTreeSet, pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, Client,
    api::{ListParams, PartialObjectMeta},
    runtime::watcher::{self, Event},
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{read, shared::SharedStore};
use crate::{admission::selection, cluster, contract::key, runtime::clock};

/// Pods that have not ended: the metadata of a pod has no phase.
const PODS_THAT_HAVE_NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Maximum number of pods of a page, as in the watches.
const PAGE_SIZE: u32 = 500;

/// Timeout for the list of one namespace. The events of pods wait for it, so that they are applied after the list.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Time before a list that failed is repeated.
const RETRY: Duration = Duration::from_secs(10);

type MetadataEvents<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<PartialObjectMeta<K>>>> + Send>>;

/// The namespaces that have opted in while the watch runs, and whose pods are not listed yet.
#[derive(Debug)]
struct Unlisted {
    names: BTreeSet<String>,
    next_attempt: Instant,
}

/// Keeps the store up to date. Returns only if a stream of events ends, which does not happen.
pub(super) async fn follow(client: Client, store: &SharedStore) {
    let mut namespaces = namespaces(&client);
    let mut pods = pods(&client);
    let mut configuration = configuration(&client);
    let mut unlisted = Unlisted { names: BTreeSet::new(), next_attempt: Instant::now() };
    loop {
        // The first list of pods must be later than the list of namespaces, which decides about each pod.
        let knows_namespaces = store.lock().knows_namespaces();
        tokio::select! {
            Some(event) = namespaces.next() => apply_namespace(store, event, &mut unlisted.names),
            Some(event) = configuration.next() => apply_configuration(store, event),
            Some(event) = pods.next(), if knows_namespaces => apply_pod(store, event),
            () = sleep_until(unlisted.next_attempt), if !unlisted.names.is_empty() => {
                unlisted.list_next(&client, store).await;
            }
            else => return,
        }
    }
}

fn namespaces(client: &Client) -> MetadataEvents<Namespace> {
    let selector = format!("{}={}", key::INJECT, key::ENABLED);
    Box::pin(cluster::selected_events(Api::all(client.clone()), &selector, ""))
}

fn pods(client: &Client) -> MetadataEvents<Pod> {
    Box::pin(cluster::selected_events(Api::all(client.clone()), &pod_labels(), PODS_THAT_HAVE_NOT_ENDED))
}

fn configuration(client: &Client) -> MetadataEvents<MutatingWebhookConfiguration> {
    let name = format!("metadata.name={}", selection::shipped_name());
    Box::pin(cluster::selected_events(Api::all(client.clone()), "", &name))
}

/// Selects the pods that have no sidecar and are not opted out.
fn pod_labels() -> String {
    format!("{}!=true,{}!={}", key::INJECTED, key::INJECT, key::DISABLED)
}

fn apply_namespace(
    store: &SharedStore,
    event: watcher::Result<Event<PartialObjectMeta<Namespace>>>,
    unlisted: &mut BTreeSet<String>,
) {
    let mut store = store.lock();
    match event {
        Ok(Event::Init) => store.begin_namespaces(),
        // Without managed fields the label of a listed namespace can be as old as the namespace.
        Ok(Event::InitApply(namespace)) => {
            let since = read::opted_in(&namespace.metadata);
            let since = since.unwrap_or_else(|| read::created(&namespace.metadata));
            store.namespace_listed(&namespace.metadata.name.unwrap_or_default(), since);
        }
        // The label of a new namespace of the watch was just set.
        Ok(Event::Apply(namespace)) => {
            let since = read::opted_in(&namespace.metadata).unwrap_or_else(clock::unix_seconds);
            let name = namespace.metadata.name.unwrap_or_default();
            if store.namespace_seen(&name, since) {
                unlisted.insert(name);
            }
        }
        Ok(Event::InitDone) => unlisted.extend(store.end_namespaces()),
        Ok(Event::Delete(namespace)) => {
            let name = namespace.metadata.name.unwrap_or_default();
            store.namespace_gone(&name);
            unlisted.remove(&name);
        }
        Err(error) => tracing::warn!(%error, "Cannot watch opted-in namespaces; retrying"),
    }
}

fn apply_pod(store: &SharedStore, event: watcher::Result<Event<PartialObjectMeta<Pod>>>) {
    let mut store = store.lock();
    match event {
        Ok(Event::Init) => store.begin_pods(),
        Ok(Event::InitApply(pod) | Event::Apply(pod)) => {
            if let Some(pod) = read::pod(&pod.metadata) {
                store.pod_seen(&pod);
            }
        }
        Ok(Event::InitDone) => store.end_pods(),
        Ok(Event::Delete(pod)) => store.pod_gone(pod.metadata.uid.as_deref().unwrap_or_default()),
        Err(error) => tracing::warn!(%error, "Cannot watch pods without a sidecar; retrying"),
    }
}

fn apply_configuration(
    store: &SharedStore,
    event: watcher::Result<Event<PartialObjectMeta<MutatingWebhookConfiguration>>>,
) {
    let mut store = store.lock();
    match event {
        Ok(Event::Init) => store.begin_configurations(),
        Ok(Event::InitApply(configuration) | Event::Apply(configuration)) => {
            let created = read::created(&configuration.metadata);
            store.configuration_seen(&configuration.metadata.name.unwrap_or_default(), created);
        }
        Ok(Event::InitDone) => store.end_configurations(),
        Ok(Event::Delete(configuration)) => {
            store.configuration_gone(&configuration.metadata.name.unwrap_or_default());
        }
        Err(error) => {
            tracing::warn!(%error, "Cannot watch the webhook configuration; retrying");
            if is_refused(&error) {
                store.skip_configurations();
            }
        }
    }
}

/// Whether the API server does not allow the watch. Other errors can end.
fn is_refused(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        watcher::Error::WatchError(status) => status,
        _ => return false,
    };
    [403, 404].contains(&status.code)
}

// === impl Unlisted ===

impl Unlisted {
    /// Lists the pods of the next namespace.
    async fn list_next(&mut self, client: &Client, store: &SharedStore) {
        let Some(name) = self.names.first().cloned() else { return };
        let error = match timeout(LIST_TIMEOUT, list(client, &name, store)).await {
            Ok(Ok(())) => {
                self.names.remove(&name);
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", LIST_TIMEOUT.as_secs()),
        };
        tracing::warn!(
            error,
            namespace = name,
            "Cannot list the pods of a namespace that has opted in; retrying"
        );
        self.next_attempt = Instant::now() + RETRY;
    }
}

async fn list(client: &Client, namespace: &str, store: &SharedStore) -> kube::Result<()> {
    let api: Api<PartialObjectMeta<Pod>> = Api::namespaced(client.clone(), namespace);
    let labels = pod_labels();
    let mut parameters =
        ListParams::default().labels(&labels).fields(PODS_THAT_HAVE_NOT_ENDED).limit(PAGE_SIZE);
    loop {
        let page = api.list(&parameters).await?;
        for pod in page.items.iter().filter_map(|pod| read::pod(&pod.metadata)) {
            store.lock().pod_listed(&pod);
        }
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => parameters = parameters.continue_token(&token),
            _ => return Ok(()),
        }
    }
}
