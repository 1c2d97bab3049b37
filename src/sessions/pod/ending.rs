//! Why a session ended.

use super::status::{Condition, Status};
use crate::sessions::ledger::{Ending, Failure, Phase};

/// Reasons in the status of a pod.
const POD_REASONS: [(&str, Failure); 11] = [
    ("Evicted", Failure::Evicted),
    ("Preempting", Failure::Evicted),
    ("DeadlineExceeded", Failure::DeadlineExceeded),
    ("NodeLost", Failure::NodeLost),
    ("NodeShutdown", Failure::NodeLost),
    ("Terminated", Failure::NodeLost),
    ("UnexpectedAdmissionError", Failure::Rejected),
    ("NodeAffinity", Failure::Rejected),
    ("OutOfcpu", Failure::Rejected),
    ("OutOfmemory", Failure::Rejected),
    ("OutOfpods", Failure::Rejected),
];

/// Reasons of the condition `DisruptionTarget`. An eviction through the API counts as a deletion by a client, so it is not in
/// the table.
const DISRUPTION_REASONS: [(&str, Failure); 3] = [
    ("DeletionByPodGC", Failure::NodeLost),
    ("DeletionByTaintManager", Failure::NodeLost),
    ("PreemptionByScheduler", Failure::Evicted),
];

/// How the session ended, or would end with this status. The reason of the pod takes precedence over its containers. The exit
/// code of a deleted session is ignored: after SIGTERM many desktops exit with a code other than 0.
pub(super) fn ending(status: &Status, is_deleted: bool) -> Ending {
    if let Some(failure) = pod_failure(status) {
        Ending::Failure(failure)
    } else if is_deleted {
        Ending::Orderly
    } else if status.terminated().any(|end| end.reason == "OOMKilled") {
        Ending::Failure(Failure::OutOfMemory)
    } else if status.phase() == Phase::Failed {
        Ending::Failure(Failure::Error)
    } else {
        Ending::Orderly
    }
}

fn pod_failure(status: &Status) -> Option<Failure> {
    let is_disrupted =
        |condition: &&Condition| condition.kind == "DisruptionTarget" && condition.status == "True";
    let disruption = status.conditions.iter().find(is_disrupted).map_or("", |condition| &condition.reason);
    failure(&POD_REASONS, &status.reason).or_else(|| failure(&DISRUPTION_REASONS, disruption))
}

fn failure(table: &[(&str, Failure)], reason: &str) -> Option<Failure> {
    table.iter().find(|(name, _)| *name == reason).map(|(_, failure)| *failure)
}
