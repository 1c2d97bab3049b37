//! Restarts of containers inside a living pod.

use std::collections::BTreeMap;

use super::{
    container::{ContainerRole, ContainerRun, ExitCause},
    session::SessionPod,
};
use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// Why a container was restarted: the values of the label `reason`.
    pub enum RestartReason {
        /// The container exited with code 0.
        Completed = "completed",
        /// The container exited with a code other than 0.
        Error = "error",
        /// The container was killed because it reached its memory limit.
        OomKilled = "oom_killed",
        /// The container was lost, for example because the node restarted.
        NodeLost = "node_lost",
        /// The kubelet keeps only the latest end, so the reasons of earlier restarts are not known.
        Unknown = "unknown",
    }
}

/// Restarts that one event shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sessions) struct Restart {
    pub(super) is_sidecar: bool,
    pub(super) reason: RestartReason,
    pub(super) count: u32,
}

/// The restarts of each container that has any.
pub(super) fn counts(pod: &SessionPod) -> BTreeMap<String, u32> {
    counted(pod).map(|container| (container.name.clone(), container.restarts)).collect()
}

/// Updates the counts. Returns the restarts that are new.
pub(super) fn observe(counts: &mut BTreeMap<String, u32>, pod: &SessionPod) -> Vec<Restart> {
    let mut restarts = vec![];
    for container in counted(pod) {
        let before = counts.insert(container.name.clone(), container.restarts).unwrap_or(0);
        let Some(earlier) = container.restarts.saturating_sub(before).checked_sub(1) else { continue };
        let is_sidecar = container.role == ContainerRole::Sidecar;
        restarts.push(Restart { is_sidecar, reason: reason(container), count: 1 });
        if earlier > 0 {
            restarts.push(Restart { is_sidecar, reason: RestartReason::Unknown, count: earlier });
        }
    }
    restarts
}

/// The containers whose restarts count. Without a previous end there was no restart: the kubelet also raises the count of a
/// container that it cannot locate.
fn counted(pod: &SessionPod) -> impl Iterator<Item = &ContainerRun> {
    let is_counted = |container: &&ContainerRun| {
        matches!(container.role, ContainerRole::Desktop | ContainerRole::Sidecar)
            && container.restarts > 0
            && container.previous.is_some()
    };
    pod.containers.iter().filter(is_counted)
}

fn reason(container: &ContainerRun) -> RestartReason {
    match container.previous {
        None => RestartReason::Unknown,
        Some(exit) => match (exit.cause, exit.code) {
            (ExitCause::RuntimeLost | ExitCause::StatusUnknown, _) => RestartReason::NodeLost,
            (_, 0) => RestartReason::Completed,
            (ExitCause::OutOfMemory, _) => RestartReason::OomKilled,
            (ExitCause::Own, _) => RestartReason::Error,
        },
    }
}
