//! The sidecar's termination message in the status of a pod.

use std::pin::pin;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kit::cluster::TestCluster;
use kube::api::{WatchEvent, WatchParams};
use serde_json::Value;
use vdi_metrics::contract::CONTAINER;

use super::{common::MINUTE, node_pods::pods};

/// The termination message of the pod `desktop` in the events of a watch, while `end` ends the session. A deleted pod's status is only there.
pub(crate) async fn message_after(
    cluster: &TestCluster,
    namespace: &str,
    end: impl Future<Output = kube::Result<()>>,
) -> Result<Value> {
    let pods = pods(cluster, namespace);
    let events = pods.watch(&WatchParams::default().fields("metadata.name=desktop"), "0").await?;
    end.await?;
    let mut events = pin!(events);
    let first_message = async {
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Modified(pod) | WatchEvent::Deleted(pod) = event
                && let Some(message) = message(&pod)
            {
                return Ok(message);
            }
        }
        anyhow::bail!("the watch ended without a termination message")
    };
    tokio::time::timeout(MINUTE, first_message).await.context("no termination message within a minute")?
}

/// The message of a sidecar that has ended; none if there is none, or if it is not JSON.
pub(crate) fn message(pod: &Pod) -> Option<Value> {
    parse(sidecar_status(pod)?.state.as_ref()?.terminated.as_ref()?).ok()
}

pub(crate) fn sidecar_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == CONTAINER)
}

pub(crate) fn parse(end: &ContainerStateTerminated) -> Result<Value> {
    Ok(serde_json::from_str(end.message.as_deref().context("no message")?)?)
}
