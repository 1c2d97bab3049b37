//! The status of a pod, reduced to the fields that the ledger needs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::spec::NamedClaim;
use crate::sessions::ledger::{Phase, PodReason, UnixTime};

/// The status of a pod. Ephemeral containers are not decoded: they are tools of an engineer, not the desktop.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    phase: String,
    reason: String,
    pub(super) start_time: Option<Time>,
    pub(super) conditions: Vec<Condition>,
    pub(super) init_container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) resource_claim_statuses: Option<Vec<NamedClaim>>,
    pub(super) extended_resource_claim_status: Option<NamedClaim>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) reason: String,
    pub(super) last_transition_time: Option<Time>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    #[serde(default)]
    pub(super) restart_count: i32,
    #[serde(default)]
    pub(super) state: ContainerState,
    #[serde(default)]
    pub(super) last_state: ContainerState,
    #[serde(default)]
    pub(super) allocated_resources_status: Vec<ResourceStatus>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ResourceStatus {
    pub(super) name: String,
    #[serde(default)]
    pub(super) resources: Vec<ResourceHealth>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ResourceHealth {
    #[serde(rename = "resourceID")]
    pub(super) id: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) waiting: Option<Waiting>,
    pub(super) running: Option<Running>,
    pub(super) terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub(super) reason: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Running {
    pub(super) started_at: Option<Time>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Terminated {
    pub(super) exit_code: i32,
    pub(super) reason: String,
    pub(super) message: Option<String>,
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
    pub(super) started_at: Option<Time>,
    pub(super) finished_at: Option<Time>,
}

/// Reasons in the status of a pod that say more than that the pod was rejected.
const POD_REASONS: [(&str, PodReason); 6] = [
    ("Evicted", PodReason::Evicted),
    ("Preempting", PodReason::Preempting),
    ("DeadlineExceeded", PodReason::DeadlineExceeded),
    // The control plane lost the node (before Kubernetes 1.27).
    ("NodeLost", PodReason::NodeGone),
    // The kubelet shut the node down; `Shutdown` before Kubernetes 1.22.
    ("Terminated", PodReason::NodeGone),
    ("Shutdown", PodReason::NodeGone),
];

/// Converts a time of the API.
pub(super) fn unix(time: &Time) -> UnixTime {
    UnixTime(time.0.as_second())
}

/// Converts a time of a container. The kubelet writes null or 1970 for a time that it does not know.
pub(super) fn known(time: Option<&Time>) -> Option<UnixTime> {
    time.map(unix).filter(|time| time.0 > 0)
}

// === impl Status ===

impl Status {
    pub(super) fn phase(&self) -> Phase {
        Phase::parse(&self.phase).filter(|phase| *phase != Phase::Terminating).unwrap_or(Phase::Unknown)
    }

    pub(super) fn reason(&self) -> Option<PodReason> {
        let known = POD_REASONS.iter().find(|(reason, _)| *reason == self.reason).map(|(_, known)| *known);
        (!self.reason.is_empty()).then(|| known.unwrap_or(PodReason::Other))
    }

    /// The condition of this type.
    pub(super) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

// === impl Condition ===

impl Condition {
    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    pub(super) fn since(&self) -> Option<UnixTime> {
        known(self.last_transition_time.as_ref())
    }
}
