//! Converts a pod of the API into a session pod of the ledger. Only the fields that the ledger needs are decoded: the watch
//! receives every change of every session, and a fully typed pod is many times as large.

mod ending;
mod identity;
mod start;
mod status;

use kube::core::Object;

use super::ledger::SessionPod;

use identity::{Spec, TEMPLATE};
use status::Status;

/// A pod as the watch decodes it.
pub(super) type WatchedPod = Object<Spec, Status>;

/// The pod for the ledger. `None` for an object without UID; the API server sends no such object.
pub(super) fn read(pod: &WatchedPod) -> Option<SessionPod> {
    let metadata = &pod.metadata;
    let unknown = Status::default();
    let status = pod.status.as_ref().unwrap_or(&unknown);
    let deleted = metadata.deletion_timestamp.as_ref().map(status::unix);
    Some(SessionPod {
        uid: metadata.uid.clone()?,
        template: TEMPLATE.of(&pod.spec, metadata).map(str::to_owned),
        phase: status.phase(),
        started: start::started(status),
        finished: start::finished(status),
        deleted,
        has_finalizers: metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty()),
        ending: ending::ending(status, deleted.is_some()),
    })
}

#[cfg(test)]
mod tests;
