//! The containers of a pod.

use super::{
    restart_policy,
    spec::{ContainerSpec, Spec},
    status::{ContainerState, ContainerStatus, Status, Terminated, known},
};
use crate::{
    contract::CONTAINER,
    sessions::ledger::{ContainerRole, ContainerRun, Exit, ExitCause, RunState, WaitCause},
};

/// Reasons of a waiting container.
const WAIT_CAUSES: [(&str, WaitCause); 16] = [
    ("ErrImagePull", WaitCause::Image),
    ("ImagePullBackOff", WaitCause::Image),
    ("InvalidImageName", WaitCause::Image),
    ("ErrImageNeverPull", WaitCause::Image),
    ("ImageInspectError", WaitCause::Image),
    ("RegistryUnavailable", WaitCause::Image),
    ("SignatureValidationFailed", WaitCause::Image),
    ("ImageVolumeMountFailed", WaitCause::Image),
    ("CrashLoopBackOff", WaitCause::Failure),
    ("RunContainerError", WaitCause::Failure),
    ("StartError", WaitCause::Failure),
    ("CreateContainerError", WaitCause::Failure),
    ("CreateContainerConfigError", WaitCause::Failure),
    ("PreCreateHookError", WaitCause::Failure),
    ("PreStartHookError", WaitCause::Failure),
    ("PostStartHookError", WaitCause::Failure),
];

/// The containers of the pod that have a status.
pub(super) fn containers(spec: &Spec, status: &Status) -> Vec<ContainerRun> {
    let init = status.init_container_statuses.iter().flatten().map(|status| {
        let spec = spec.init_containers.of(&status.name);
        let is_sidecar = spec.restart_policy.as_deref() == Some("Always");
        let role = if is_sidecar { ContainerRole::Helper } else { ContainerRole::Init };
        (status, spec, role)
    });
    let regular = status.container_statuses.iter().flatten();
    let regular = regular.map(|status| (status, spec.containers.of(&status.name), ContainerRole::Desktop));
    init.chain(regular).map(|(status, of_container, role)| run(status, spec, of_container, role)).collect()
}

fn run(
    status: &ContainerStatus,
    spec: &Spec,
    of_container: &ContainerSpec,
    role: ContainerRole,
) -> ContainerRun {
    let end = status.state.terminated.as_ref();
    let restarts = |end: &Terminated| {
        let own = of_container.restart_policy.as_deref();
        restart_policy::restarts(&spec.restart_policy, own, &of_container.restart_rules, end.exit_code)
    };
    ContainerRun {
        name: status.name.clone(),
        role: if status.name == CONTAINER { ContainerRole::Sidecar } else { role },
        restarts_after_exit: end.is_some_and(restarts),
        restarts: u32::try_from(status.restart_count).unwrap_or(0),
        state: state(&status.state),
        previous: status.last_state.terminated.as_ref().map(exit),
    }
}

fn state(state: &ContainerState) -> RunState {
    if let Some(terminated) = &state.terminated {
        return RunState::Exited(exit(terminated));
    }
    if let Some(running) = &state.running {
        return RunState::Running(known(running.started_at.as_ref()));
    }
    let reason = state.waiting.as_ref().map_or("", |waiting| &waiting.reason);
    let cause = WAIT_CAUSES.iter().find(|(known, _)| *known == reason);
    RunState::Waiting(cause.map_or(WaitCause::Start, |(_, cause)| *cause))
}

fn exit(terminated: &Terminated) -> Exit {
    let cause = match (terminated.reason.as_str(), terminated.exit_code) {
        ("OOMKilled", _) => ExitCause::OutOfMemory,
        // containerd's status of a container without a task, for example after a restart of the node.
        ("Unknown", 255) => ExitCause::RuntimeLost,
        ("ContainerStatusUnknown", _) => ExitCause::StatusUnknown,
        _ => ExitCause::Own,
    };
    let (started, finished) = (known(terminated.started_at.as_ref()), known(terminated.finished_at.as_ref()));
    Exit { code: terminated.exit_code, cause, started, finished }
}
