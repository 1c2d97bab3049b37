//! Why a session is pending.

use super::{
    container::{ContainerRole, ContainerRun, RunState, WaitCause},
    phase::Phase,
    session::{Scheduling, SessionPod},
};
use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// Why a pod is pending: the values of the label `reason`.
    pub enum PendingReason {
        /// A scheduling gate holds the pod.
        SchedulingGated = "scheduling_gated",
        /// No node fits.
        Unschedulable = "unschedulable",
        /// The scheduler has not answered yet.
        Scheduling = "scheduling",
        /// The sidecar of vdi-metrics cannot start.
        Sidecar = "sidecar",
        /// The image of another container cannot be pulled or used.
        ImageError = "image_error",
        /// Another container cannot be created or started, or crashes before the desktop starts.
        ContainerError = "container_error",
        /// An init container runs.
        Init = "init",
        /// Everything else: volumes, network, and the pull of images.
        Starting = "starting",
    }
}

/// Why the pod is pending; `None` if it is not.
pub(super) fn reason(pod: &SessionPod) -> Option<PendingReason> {
    if pod.phase != Phase::Pending || pod.deletion.is_some() {
        return None;
    }
    Some(match pod.progress.scheduling {
        Scheduling::Gated => PendingReason::SchedulingGated,
        Scheduling::Unschedulable => PendingReason::Unschedulable,
        Scheduling::Waiting => PendingReason::Scheduling,
        Scheduling::Done(_) => on_node(pod),
    })
}

fn on_node(pod: &SessionPod) -> PendingReason {
    let waits = |container: &ContainerRun, cause| container.is_waiting_for(cause);
    let any_waits = |cause| pod.containers.iter().any(|container| waits(container, cause));
    let is_blocked =
        |container: &ContainerRun| waits(container, WaitCause::Image) || waits(container, WaitCause::Failure);
    if pod.of_role(ContainerRole::Sidecar).any(is_blocked) {
        PendingReason::Sidecar
    } else if any_waits(WaitCause::Image) {
        PendingReason::ImageError
    } else if any_waits(WaitCause::Failure) {
        PendingReason::ContainerError
    } else if pod
        .of_role(ContainerRole::Init)
        .any(|container| matches!(container.state, RunState::Running(_)))
    {
        PendingReason::Init
    } else {
        PendingReason::Starting
    }
}
