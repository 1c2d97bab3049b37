//! Start and end of the desktop.

use super::status::{ContainerState, Status, unix};
use crate::sessions::ledger::UnixTime;

/// The time at which the kubelet accepted the pod; `None` until a desktop container has run. A pod that only waited for its
/// image is no session, however long it waited.
pub(super) fn started(status: &Status) -> Option<UnixTime> {
    let has_run = |state: &ContainerState| {
        state.running.is_some() || state.terminated.as_ref().is_some_and(|end| end.started_at.is_some())
    };
    let is_session =
        status.desktop().any(|container| has_run(&container.state) || has_run(&container.last_state));
    status.start_time.as_ref().filter(|_| is_session).map(unix)
}

/// The time at which the last desktop container ended; `None` while a desktop container runs.
pub(super) fn finished(status: &Status) -> Option<UnixTime> {
    let has_ended = status.desktop().all(|container| container.state.terminated.is_some());
    let ends = status.terminated().filter_map(|end| end.finished_at.as_ref());
    ends.map(unix).max().filter(|_| has_ended)
}
