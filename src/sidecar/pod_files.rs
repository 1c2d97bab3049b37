//! Reads attribution evidence from the container's files. No other module of the sidecar reads files. All files are read again at
//! each poll, because annotations change while the pod runs. Each read has a maximum size.
//!
//! A read has three possible results: a value, no value because the evidence is absent, or [`Unreadable`]. A file that cannot be
//! read is never treated as absent. Otherwise a device of another pod could be attributed.

mod annotations;
mod claim_metadata;
mod processes;
mod read;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::attribution::Annotations;
use crate::{
    contract::{ANNOTATIONS, REPORT, VOLUME_PATH},
    gpu::id::Id,
    sampling::report::ReportError,
};

pub(super) use self::{processes::NoProcessEvidence, read::Unreadable};

/// The container's files.
#[derive(Debug)]
pub(super) struct PodFiles {
    root: PathBuf,
}

/// Folder of the claims' metadata files.
const CLAIM_METADATA: &str = "var/run/kubernetes.io/dra-device-attributes";

// === impl PodFiles ===

impl PodFiles {
    /// The files under `root`.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The pod's annotations about its devices. If the file does not exist, the pod has none.
    pub(super) fn annotations(&self) -> Result<Annotations, Unreadable> {
        annotations::read(&self.volume().join(ANNOTATIONS))
    }

    /// The node agent's file; none if the agent has not written one.
    pub(super) fn node_report(&self) -> Result<Option<Vec<u8>>, Unreadable> {
        read::file(&self.node_report_path())
    }

    /// The node agent's file, as unreadable because of its contents.
    pub(super) fn invalid_node_report(&self, why: ReportError) -> Unreadable {
        Unreadable::invalid(&self.node_report_path(), why)
    }

    /// Inode of the node agent's file, which is another one after each write; none if there is no file.
    pub(super) fn node_report_inode(&self) -> Option<u64> {
        fs::metadata(self.node_report_path()).ok().map(|file| file.ino())
    }

    /// UUIDs of the GPUs in the container's claims; empty if the DRA driver writes no metadata files.
    pub(super) fn claimed_devices(&self) -> Result<Vec<Id>, Unreadable> {
        claim_metadata::read(&self.root.join(CLAIM_METADATA))
    }

    /// Checks that the sidecar sees exactly the processes of the pod.
    pub(super) fn check_pid_namespace(&self) -> Result<(), NoProcessEvidence> {
        processes::check_namespace(&self.proc())
    }

    /// Whether the sidecar sees a process with this PID.
    pub(super) fn has_process(&self, pid: u32) -> Result<bool, Unreadable> {
        let folder = self.proc().join(pid.to_string());
        folder.try_exists().map_err(|error| Unreadable::new(&folder, error))
    }

    /// The devices that `NVIDIA_VISIBLE_DEVICES` names in the pod's processes.
    pub(super) fn devices_in_environments(&self) -> Result<Vec<Id>, NoProcessEvidence> {
        processes::devices_in_environments(&self.proc())
    }

    /// Creation time of the pod's sandbox, shortly before the first container starts. This is the modification time of
    /// `/etc/hostname`: container runtimes write this file for the sandbox and mount it into every container. None if the file
    /// does not exist. Root in the desktop container can change the time by writing the file.
    pub(super) fn sandbox_created(&self) -> Result<Option<SystemTime>, Unreadable> {
        let file = self.root.join("etc/hostname");
        read::present(&file, fs::metadata(&file).and_then(|file| file.modified()))
    }

    fn node_report_path(&self) -> PathBuf {
        self.volume().join(REPORT)
    }

    fn volume(&self) -> PathBuf {
        self.root.join(VOLUME_PATH.trim_start_matches('/'))
    }

    fn proc(&self) -> PathBuf {
        self.root.join(Path::new("proc"))
    }
}
