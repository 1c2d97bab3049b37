//! The devices that the kubelet has allocated, by pod.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::watch, time};

use super::{
    pod_names::PodName,
    pod_resources::{ListFailure, PodAllocation, PodResources},
};
use crate::gpu::id::Id;

/// The kubelet's last answer.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    /// IDs of the devices by namespace and name of the pod; none if the kubelet has not answered yet, or does not answer now.
    by_pod: Option<HashMap<PodName, Vec<Id>>>,
    /// Why the kubelet does not answer; none if it does.
    pub(super) failure: Option<ListFailure>,
}

/// Asks the kubelet again and again, and publishes each answer. Does not return while the receiver exists.
pub(super) async fn follow(
    kubelet: PodResources,
    interval: Duration,
    allocations: watch::Sender<Arc<Allocations>>,
) {
    let mut failing = false;
    while !allocations.is_closed() {
        let answer = match kubelet.list().await {
            Ok(pods) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("The kubelet lists the devices of pods again");
                }
                Allocations::of(&pods)
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "The kubelet does not list the devices of pods; only processes show them");
                }
                Allocations { by_pod: None, failure: Some(error.failure) }
            }
        };
        allocations.send_replace(Arc::new(answer));
        time::sleep(interval).await;
    }
}

// === impl Allocations ===

impl Allocations {
    /// The allocations in the kubelet's list. IDs in no known form are of other devices than GPUs.
    pub(super) fn of(pods: &[PodAllocation]) -> Self {
        let ids = |pod: &PodAllocation| {
            let devices = pod.containers.iter().flat_map(|container| container.devices.values().flatten());
            let of_plugins = devices.filter_map(|id| Id::parse(id));
            let claims = pod.containers.iter().flat_map(|container| &container.claims);
            let cdi = claims.flat_map(|claim| &claim.devices).flat_map(|device| &device.cdi_ids);
            of_plugins.chain(cdi.filter_map(|id| Id::uuid(id))).collect()
        };
        let name = |pod: &PodAllocation| PodName { namespace: pod.namespace.clone(), name: pod.name.clone() };
        let entry = |pod| (name(pod), ids(pod));
        Self { by_pod: Some(pods.iter().map(entry).collect()), failure: None }
    }

    /// The devices of a pod; none if the kubelet does not list the pod, so that they are unknown.
    pub(super) fn of_pod(&self, name: &PodName) -> Option<&[Id]> {
        self.by_pod.as_ref()?.get(name).map(Vec::as_slice)
    }
}
