//! The conditions of a pod.

use super::status::Status;
use crate::sessions::ledger::{Disruption, DisruptionCause, Progress, Scheduling, UnixTime};

/// Reasons of the condition `DisruptionTarget`.
const CAUSES: [(&str, DisruptionCause); 6] = [
    ("EvictionByEvictionAPI", DisruptionCause::EvictionApi),
    ("DeletionByTaintManager", DisruptionCause::Taint),
    // A taint of a DRA device.
    ("DeletionByDeviceTaintManager", DisruptionCause::Taint),
    ("PreemptionByScheduler", DisruptionCause::Scheduler),
    ("DeletionByPodGC", DisruptionCause::PodGc),
    ("TerminationByKubelet", DisruptionCause::Kubelet),
];

/// The disruption of the pod, if the condition is true.
pub(super) fn disruption(status: &Status) -> Option<Disruption> {
    let condition = status.condition("DisruptionTarget").filter(|condition| condition.is_true())?;
    let cause = CAUSES.iter().find(|(reason, _)| *reason == condition.reason);
    let cause = cause.map_or(DisruptionCause::Other, |(_, cause)| *cause);
    Some(Disruption { cause, since: condition.since() })
}

/// The progress of the pod's start. `has_node` says whether the spec names a node.
pub(super) fn progress(status: &Status, has_node: bool) -> Progress {
    let ready = status.condition("Ready").filter(|condition| condition.is_true());
    Progress {
        scheduling: scheduling(status, has_node),
        ready: ready.and_then(|condition| condition.since()),
        unreachable: unreachable(status),
    }
}

fn scheduling(status: &Status, has_node: bool) -> Scheduling {
    match status.condition("PodScheduled") {
        Some(condition) if condition.is_true() => Scheduling::Done(condition.since()),
        _ if has_node => Scheduling::Done(None),
        Some(condition) if condition.reason == "SchedulingGated" => Scheduling::Gated,
        Some(condition) if condition.reason == "Unschedulable" => Scheduling::Unschedulable,
        _ => Scheduling::Waiting,
    }
}

/// Since when the node does not answer. The node controller sets `Ready` to false without a reason (`MarkPodsNotReady`) and
/// leaves `ContainersReady` true. The kubelet changes both, or gives a reason.
fn unreachable(status: &Status) -> Option<UnixTime> {
    let containers_ready = status.condition("ContainersReady").is_some_and(|condition| condition.is_true());
    let ready = status.condition("Ready").filter(|_| containers_ready)?;
    (ready.status == "False" && ready.reason.is_empty()).then(|| ready.since())?
}
