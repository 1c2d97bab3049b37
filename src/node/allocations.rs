//! The GPUs that the kubelet has allocated, by pod. Requests the kubelet's list periodically.

mod listed;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time};

use super::pod_resources::{ListFailure, PodResources};

pub(super) use self::listed::ListedGpus;

/// The kubelet's last answer.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    /// The last list. Empty if the kubelet has not answered yet. While the kubelet does not answer, the list stays right: no pod starts
    /// without the kubelet, and a running pod keeps its devices.
    pub(super) gpus: ListedGpus,
    /// Why the kubelet does not answer; none if it does.
    pub(super) failure: Option<ListFailure>,
}

/// Requests the kubelet's list at each interval, and publishes it. Does not return while the receiver exists.
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
                    tracing::info!("The kubelet's list of devices can be read again");
                }
                Allocations { gpus: ListedGpus::of(&pods), failure: None }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "Cannot read the kubelet's list of devices; the last list is used, if there is one");
                }
                Allocations { gpus: allocations.borrow().gpus.clone(), failure: Some(error.failure) }
            }
        };
        allocations.send_replace(Arc::new(answer));
        time::sleep(interval).await;
    }
}
