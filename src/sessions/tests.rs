//! Tests from pods, as the API server sends them, to the metrics.

mod endings;
mod failovers;
mod interruptions;
mod lifecycle;
mod lives;
mod names;
mod pods;
mod progress;
mod properties;
mod recorded;
mod stories;
mod watch;

use crate::sessions::replica::history::PodEvent;

/// An event of a running pod with this version, received at this time.
pub(in crate::sessions) fn event(version: u64, seconds: i64) -> PodEvent {
    let mut pod = watch::read(&pods::running());
    pod.version = version;
    PodEvent { pod, is_gone: false, received: watch::unix(seconds) }
}
