//! The status of a pod, reduced to the fields that the ledger needs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    contract::CONTAINER,
    sessions::ledger::{Phase, UnixTime},
};

/// The status of a pod.
///
/// `initContainerStatuses` is not decoded: it contains only init containers and native sidecars, which show nothing about the
/// desktop.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::sessions) struct Status {
    phase: String,
    pub(super) reason: String,
    pub(super) start_time: Option<Time>,
    pub(super) conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ContainerStatus {
    name: String,
    #[serde(default)]
    pub(super) state: ContainerState,
    #[serde(default, rename = "lastState")]
    pub(super) last_state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) running: Option<IgnoredAny>,
    pub(super) terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Terminated {
    pub(super) reason: String,
    /// Absent if the kubelet never saw the container run.
    pub(super) started_at: Option<Time>,
    pub(super) finished_at: Option<Time>,
}

/// Converts a time of the API.
pub(super) fn unix(time: &Time) -> UnixTime {
    UnixTime(time.0.as_second())
}

// === impl Status ===

impl Status {
    pub(super) fn phase(&self) -> Phase {
        Phase::parse(&self.phase).unwrap_or(Phase::Unknown)
    }

    /// The desktop containers: every container but the sidecar.
    pub(super) fn desktop(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.container_statuses.iter().filter(|container| container.name != CONTAINER)
    }

    /// The desktop containers that have terminated.
    pub(super) fn terminated(&self) -> impl Iterator<Item = &Terminated> {
        self.desktop().filter_map(|container| container.state.terminated.as_ref())
    }
}
