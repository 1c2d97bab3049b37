//! The events of the session pods, as the API server sends them.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::TestCluster;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use vdi_metrics::contract::key;

use super::lives::now;

/// An event of the watch.
#[derive(Clone)]
pub(super) struct PodEvent {
    /// Time at which the test received the event, in seconds since 1970.
    pub(super) received: f64,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub(super) kind: &'static str,
    pub(super) pod: Value,
}

/// A watch of the session pods of a namespace, which lasts until this value is dropped.
pub(super) struct EventLog {
    events: Arc<Mutex<Vec<PodEvent>>>,
    watch: JoinHandle<Result<()>>,
}

// === impl EventLog ===

impl EventLog {
    /// Begins to watch a namespace without pods.
    pub(super) async fn start(cluster: &TestCluster, namespace: &str) -> Result<Self> {
        let resource = ApiResource::erase::<Pod>(&());
        let pods = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), namespace, &resource);
        let version = pods.list(&ListParams::default()).await?.metadata.resource_version;
        let version = version.context("a list without a resource version")?;
        let events = Arc::<Mutex<Vec<PodEvent>>>::default();
        let watch = tokio::spawn(watch(pods, version, Arc::clone(&events)));
        Ok(Self { events, watch })
    }

    /// The events so far.
    pub(super) fn events(&self) -> Vec<PodEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Watches the pods. The API server ends a watch after some minutes; then the next one continues.
async fn watch(
    pods: Api<DynamicObject>,
    mut version: String,
    events: Arc<Mutex<Vec<PodEvent>>>,
) -> Result<()> {
    let parameters = WatchParams::default().labels(&format!("{}=true", key::INJECTED));
    loop {
        let mut stream = pin!(pods.watch(&parameters, &version).await?);
        while let Some(event) = stream.try_next().await? {
            let (kind, pod) = match event {
                WatchEvent::Added(pod) => ("ADDED", pod),
                WatchEvent::Modified(pod) => ("MODIFIED", pod),
                WatchEvent::Deleted(pod) => ("DELETED", pod),
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(error) => bail!("the watch has failed: {error:?}"),
            };
            version = pod.metadata.resource_version.clone().context("a pod without a resource version")?;
            let event = PodEvent { received: now(), kind, pod: json!(pod) };
            events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        }
    }
}
