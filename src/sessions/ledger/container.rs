//! A container of a session pod.

use super::time::UnixTime;

/// The status of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRun {
    /// Name of the container.
    pub name: String,
    /// Purpose of the container.
    pub role: ContainerRole,
    /// Whether the container has exited and the kubelet will restart it.
    pub restarts_after_exit: bool,
    /// Number of restarts by the kubelet's count.
    pub restarts: u32,
    /// Current state.
    pub state: RunState,
    /// End of the run before the current state (`lastState`).
    pub previous: Option<Exit>,
}

/// Purpose of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerRole {
    /// A regular container but the sidecar.
    Desktop,
    /// The sidecar of vdi-metrics, native or regular.
    Sidecar,
    /// An init container that ends before the desktop starts.
    Init,
    /// Another native sidecar.
    Helper,
}

/// State of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// The container waits.
    Waiting(WaitCause),
    /// The container runs since this time.
    Running(Option<UnixTime>),
    /// The container ended.
    Exited(Exit),
}

/// Why a container waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCause {
    /// The image cannot be pulled or used.
    Image,
    /// The container cannot be created or started, or crashes again and again.
    Failure,
    /// Everything else, for example an earlier container that has not ended yet.
    Start,
}

/// The end of one run of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code.
    pub code: i32,
    /// Cause that the runtime or the kubelet gives.
    pub cause: ExitCause,
    /// Start of the run; `None` if the container never ran, or if the kubelet does not know.
    pub started: Option<UnixTime>,
    /// End of the run; `None` if the kubelet does not know.
    pub finished: Option<UnixTime>,
}

/// Cause of an exit, as the runtime or the kubelet reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCause {
    /// The container itself ended.
    Own,
    /// The kernel killed a process of the container because of its memory limit. It can be a child of the main process.
    OutOfMemory,
    /// The runtime lost the container, for example because the node restarted (code 255, reason `Unknown`).
    RuntimeLost,
    /// The kubelet cannot locate the container. It then writes the code 137, without times.
    StatusUnknown,
}

// === impl ContainerRun ===

impl ContainerRun {
    /// Whether the container runs or has run.
    pub(super) fn has_run(&self) -> bool {
        let has_started = |exit: &Exit| exit.started.is_some();
        matches!(self.state, RunState::Running(_))
            || self.state.exit().is_some_and(has_started)
            || self.previous.as_ref().is_some_and(has_started)
    }

    /// The end of the last run that has ended.
    pub(super) fn last_exit(&self) -> Option<&Exit> {
        self.state.exit().or(self.previous.as_ref())
    }

    /// Start of the first run; `None` if it is not known.
    pub(super) fn first_start(&self) -> Option<UnixTime> {
        let start = match &self.state {
            RunState::Waiting(_) => None,
            RunState::Running(start) => *start,
            RunState::Exited(exit) => exit.started,
        };
        start.filter(|_| self.restarts == 0)
    }

    pub(super) fn is_waiting_for(&self, cause: WaitCause) -> bool {
        self.state == RunState::Waiting(cause)
    }
}

// === impl RunState ===

impl RunState {
    /// The exit, if the container has ended.
    pub(super) fn exit(&self) -> Option<&Exit> {
        match self {
            Self::Exited(exit) => Some(exit),
            Self::Waiting(_) | Self::Running(_) => None,
        }
    }
}

// === impl Exit ===

impl Exit {
    /// Whether the container itself failed. The kubelet's code for a container that it cannot locate is not the container's.
    pub(super) fn is_own_failure(&self) -> bool {
        self.code != 0 && matches!(self.cause, ExitCause::Own | ExitCause::OutOfMemory)
    }
}
