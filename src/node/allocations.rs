//! The GPUs that the kubelet has allocated, by pod. Requests the kubelet's list periodically.

mod listed;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time};

use super::pod_resources::{ListError, ListFailure, PodResources};

pub(super) use self::listed::ListedGpus;
use crate::runtime::log::OngoingError;

/// The kubelet's last answer.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    /// The GPUs of the last list; empty before the first one, and if the kubelet runs and gives no list twice in a row. While the
    /// kubelet does not run, no pod starts and no device is allocated, so the last list stays right.
    pub(super) gpus: Arc<ListedGpus>,
    /// Why the kubelet does not answer; none if it does.
    pub(super) failure: Option<ListFailure>,
}

/// Log message: the kubelet gives no list.
const UNLISTED: &str =
    "Cannot read the kubelet's list of devices; new sessions have only the devices with their processes";

/// Requests the kubelet's list at each interval, and publishes it. Does not return while the receiver exists.
pub(super) async fn follow(
    kubelet: PodResources,
    interval: Duration,
    allocations: watch::Sender<Arc<Allocations>>,
) {
    let ongoing = OngoingError::new(UNLISTED);
    while !allocations.is_closed() {
        let list = kubelet.list().await;
        ongoing.log(list.as_ref().err().map(|error| error as _));
        let answer = match list {
            Ok(pods) => Allocations { gpus: Arc::new(ListedGpus::of(&pods)), failure: None },
            Err(error) => Allocations {
                gpus: after_failure(&error, &allocations.borrow()),
                failure: Some(error.failure),
            },
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
