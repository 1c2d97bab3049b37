//! The GPUs that the kubelet has allocated, by pod. Requests the kubelet's list periodically.

mod listed;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time};

use super::pod_resources::{ListError, ListFailure, PodResources};

pub(super) use self::listed::ListedGpus;

/// The kubelet's last answer.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    /// The GPUs of the last list; empty before the first one, and if the kubelet runs and gives no list twice in a row. While the
    /// kubelet does not run, no pod starts and no device is allocated, so the last list stays right.
    pub(super) gpus: Arc<ListedGpus>,
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
                Allocations { gpus: Arc::new(ListedGpus::of(&pods)), failure: None }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "Cannot read the kubelet's list of devices; new sessions have only the devices with their processes");
                }
                Allocations {
                    gpus: after_failure(&error, &allocations.borrow()),
                    failure: Some(error.failure),
                }
            }
        };
        allocations.send_replace(Arc::new(answer));
        time::sleep(interval).await;
    }
}

/// The GPUs that are known although the kubelet gave no list.
fn after_failure(error: &ListError, last: &Allocations) -> Arc<ListedGpus> {
    let is_stopped = matches!(error.failure, ListFailure::NoSocket | ListFailure::NotListening);
    // The kubelet can stop during a call.
    let is_first = last.failure.is_none();
    if is_stopped || is_first { Arc::clone(&last.gpus) } else { Arc::default() }
}
