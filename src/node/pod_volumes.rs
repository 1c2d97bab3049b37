//! The volumes of session pods, below the kubelet's folder `pods`: which sessions this node has, and one file for each.
//!
//! The folder `pods/UID/volumes/kubernetes.io~projected/vdi-metrics` is the volume that the webhook adds to a session pod. The folder
//! `pods` also has the volumes of all other pods, which can contain anything and can hang. So no other path is opened,
//! every open refuses links, and every read has a limit. The agent opens a volume only for one read or write.
//!
//! A user can create a pod with a projected volume of the same name. The agent writes the data of this pod into it, which is
//! harmless: only this pod can read it. But the files in it can have any contents, so they never show which pod it is.
//!
//! The kubelet does not remove the agent's file when it updates the volume: `pathsToRemove` and `removeUserVisiblePaths` in
//! `pkg/volume/util/atomic_writer.go` (Kubernetes 1.37) select only names in the previous folder behind `..data`.

mod beneath;
mod error;
mod open_volume;
mod replace;

#[cfg(test)]
mod tests;

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fd::AsFd,
    fs::{CWD, Dir, Mode, OFlags, openat},
    io::Errno,
};

use super::pod_names;

use self::{error::invalid, open_volume::OpenVolume};
use crate::contract::ANNOTATIONS;

pub(super) use self::error::VolumeError;

/// The kubelet's folder `pods`.
#[derive(Debug)]
pub(super) struct PodVolumes {
    path: PathBuf,
    folder: OwnedFd,
}

/// The sessions of this node.
#[derive(Debug, Default)]
pub(super) struct SessionVolumes<'p> {
    /// The sessions whose volumes can be read.
    pub(super) volumes: Vec<SessionVolume<'p>>,
    /// The pods that are left out. Such a pod still exists.
    pub(super) errors: Vec<VolumeError>,
}

/// The volume of one session.
#[derive(Debug)]
pub(super) struct SessionVolume<'p> {
    pods: &'p PodVolumes,
    uid: String,
}

/// Maximum number of session pods. A node has 110 pods by default, and at most 250 in large clusters.
const MAX_SESSIONS: usize = 1024;

/// Maximum bytes of the annotations. All annotations of a pod together can have 256 KiB, and the downward API writes up to four
/// bytes for each of them.
const MAX_ANNOTATIONS_BYTES: u64 = 2 << 20;

// === impl PodVolumes ===

impl PodVolumes {
    /// The folder `pods` of the kubelet with this root, such as `/var/lib/kubelet`.
    ///
    /// # Errors
    /// Fails if the folder cannot be opened, or if the kernel is older than Linux 5.6.
    pub(super) fn open(kubelet_root: &Path) -> Result<Self, VolumeError> {
        let path = kubelet_root.join("pods");
        let error = |cause: Errno| VolumeError::new(None, &path, cause);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, &path, flags, Mode::empty()).map_err(error)?;
        // Shows at the start, and not once for each pod, that the kernel has no `openat2`.
        beneath::folder(folder.as_fd(), ".").map_err(error)?;
        Ok(Self { path, folder })
    }

    /// Finds the session pods. A pod is absent from the result only if it has no volume of this name, or if the kubelet has not
    /// filled the volume yet.
    ///
    /// # Errors
    /// Fails if the folder `pods` cannot be read.
    pub(super) fn sessions(&self) -> Result<SessionVolumes<'_>, VolumeError> {
        let error = |cause: Errno| VolumeError::new(None, &self.path, cause);
        let mut found = SessionVolumes::default();
        for entry in Dir::read_from(&self.folder).map_err(error)? {
            let entry = entry.map_err(error)?;
            let Some(uid) = entry.file_name().to_str().ok().filter(|name| pod_names::is_uid(name)) else {
                continue;
            };
            match self.session(uid) {
                Ok(None) => {}
                _ if found.volumes.len() + found.errors.len() == MAX_SESSIONS => {
                    found.errors.push(self.too_many_sessions());
                    break;
                }
                Ok(Some(volume)) => found.volumes.push(volume),
                Err(error) => found.errors.push(error),
            }
        }
        Ok(found)
    }

    fn session(&self, uid: &str) -> Result<Option<SessionVolume<'_>>, VolumeError> {
        let Some(volume) = self.volume(uid)? else { return Ok(None) };
        let is_filled = volume.read(|_| Ok(()))?.is_some();
        Ok(is_filled.then(|| SessionVolume { pods: self, uid: uid.to_owned() }))
    }

    fn volume<'u>(&self, uid: &'u str) -> Result<Option<OpenVolume<'u>>, VolumeError> {
        OpenVolume::open(self.folder.as_fd(), &self.path, uid)
    }

    fn too_many_sessions(&self) -> VolumeError {
        let why = format!("more than {MAX_SESSIONS} session pods; the agent serves only this number");
        VolumeError::new(None, &self.path, invalid(why))
    }
}

// === impl SessionVolumes ===

impl SessionVolumes<'_> {
    /// The UIDs of the session pods, also of those whose volume cannot be read.
    pub(super) fn uids(&self) -> impl Iterator<Item = &str> {
        let readable = self.volumes.iter().map(SessionVolume::uid);
        readable.chain(self.errors.iter().filter_map(VolumeError::uid))
    }
}

// === impl SessionVolume ===

impl SessionVolume<'_> {
    /// UID of the pod. It is the name of the pod's folder, so it is reliable.
    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// The pod's annotations in the format of the downward API; none if the volume has no such file. Read for each call: the
    /// annotations of all pods of a node together could have hundreds of MiB.
    pub(super) fn annotations(&self) -> Result<Option<Vec<u8>>, VolumeError> {
        let annotations = self.volume()?.read(|data| data.contents(ANNOTATIONS, MAX_ANNOTATIONS_BYTES))?;
        annotations.ok_or_else(|| self.gone())
    }

    /// Replaces the file `name` in one step. Every user in the pod's containers may read the file.
    ///
    /// # Errors
    /// Fails if the pod has ended, if the volume is full, or if the file cannot be written. The previous file remains.
    pub(super) fn write(&self, name: &'static str, contents: &[u8]) -> Result<(), VolumeError> {
        self.volume()?.replace(name, contents)
    }

    fn volume(&self) -> Result<OpenVolume<'_>, VolumeError> {
        self.pods.volume(&self.uid)?.ok_or_else(|| self.gone())
    }

    fn gone(&self) -> VolumeError {
        VolumeError::new(Some(&self.uid), &self.pods.path.join(&self.uid), Errno::NOENT)
    }
}
