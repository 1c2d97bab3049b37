//! The start of a session, from the creation of its pod to its readiness.

use std::collections::BTreeSet;

use super::{
    container::{ContainerRole, ContainerRun},
    session::{Scheduling, SessionPod},
    time::UnixTime,
};
use crate::runtime::vocabulary::vocabulary;

vocabulary! {
    /// A stage of the start: the values of the label `stage`. Each stage is measured from the creation of the pod.
    pub enum Stage {
        /// The scheduler has chosen a node.
        Scheduled = "scheduled",
        /// The sidecar of vdi-metrics runs.
        Sidecar = "sidecar",
        /// The first desktop container runs, so its image is on the node. A pod does not show the end of a pull itself.
        Image = "image",
        /// Every desktop container runs.
        Containers = "containers",
        /// The pod is ready.
        Ready = "ready",
    }
}

/// Adds the stages that the pod has reached. Returns the new ones, with the seconds since the creation of the pod.
pub(super) fn observe(counted: &mut BTreeSet<Stage>, pod: &SessionPod) -> Vec<(Stage, u64)> {
    let is_new = |(stage, time): (Stage, Option<UnixTime>)| {
        let seconds = time?.seconds_since(pod.created);
        counted.insert(stage).then_some((stage, seconds))
    };
    Stage::ALL.into_iter().map(|stage| (stage, reached(stage, pod))).filter_map(is_new).collect()
}

/// The time at which the pod reached the stage; `None` if it has not, or if the time is not known.
fn reached(stage: Stage, pod: &SessionPod) -> Option<UnixTime> {
    match stage {
        Stage::Scheduled => match pod.progress.scheduling {
            Scheduling::Done(time) => time,
            Scheduling::Waiting | Scheduling::Gated | Scheduling::Unschedulable => None,
        },
        Stage::Sidecar => pod.of_role(ContainerRole::Sidecar).next()?.first_start(),
        Stage::Image => pod.desktops().filter_map(ContainerRun::first_start).min(),
        Stage::Containers => {
            pod.desktops().map(ContainerRun::first_start).collect::<Option<Vec<_>>>()?.into_iter().max()
        }
        Stage::Ready => pod.progress.ready,
    }
}
