//! The role of this process in [`isolated`](super::isolated), which it reads from its environment.

use std::ffi::OsStr;
use std::path::PathBuf;

/// The variable with the role: unset in the first process, [`SUPERVISOR`] in the second, in the third the cluster's folder.
pub(super) const ROLE: &str = "VDI_METRICS_TEST_CLUSTER";
pub(super) const SUPERVISOR: &str = "supervisor";

/// The role of a process.
pub(super) enum Role {
    /// The process that the user started.
    First,
    Supervisor,
    /// Process 1 of the namespaces, with the cluster's folder.
    Isolated(PathBuf),
}

// === impl Role ===

impl Role {
    pub(super) fn of_this_process() -> Self {
        match std::env::var_os(ROLE) {
            None => Self::First,
            Some(role) if role == OsStr::new(SUPERVISOR) => Self::Supervisor,
            Some(dir) => Self::Isolated(dir.into()),
        }
    }
}

/// The cluster's folder, if this process runs in the cluster's namespaces.
pub(in crate::cluster) fn isolated_folder() -> Option<PathBuf> {
    match Role::of_this_process() {
        Role::Isolated(dir) => Some(dir),
        Role::First | Role::Supervisor => None,
    }
}

/// Whether this is the process that the user started.
#[must_use]
pub fn is_first_process() -> bool {
    matches!(Role::of_this_process(), Role::First)
}
