//! One pod's volume, open for one read or one write.
//!
//! The kubelet keeps the files of such a volume in a folder `..2026_11_30_08_15_00.123`, and a link `..data` to this folder. For an
//! update it creates another folder, renames a new link over `..data`, and removes the old folder.

use std::{
    ffi::CString,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::readlinkat,
    io::Errno,
};

use super::{
    beneath,
    error::{VolumeError, invalid},
    replace,
};
use crate::{contract::CONTAINER, sampling::report::MAX_BYTES};

/// An open volume. While a process has a volume open, the kubelet cannot unmount it (`EBUSY`, also through the mount of the
/// agent's container), and the deletion of the pod waits. So no value lives longer than one read or write.
#[derive(Debug)]
pub(super) struct OpenVolume<'u> {
    uid: &'u str,
    path: PathBuf,
    folder: OwnedFd,
}

/// Maximum number of attempts to read between two updates. The kubelet updates a volume at most once in a sync of the pod, so the
/// second attempt succeeds.
const MAX_ATTEMPTS: usize = 3;

/// The kubelet's link to the folder with the files.
const DATA_LINK: &str = "..data";

// === impl OpenVolume ===

impl<'u> OpenVolume<'u> {
    /// Opens the volume of the pod with this UID; none if the pod has no such volume.
    ///
    /// Only volumes of the type `projected` have this path. A pod cannot write into such a volume, because the kubelet mounts it
    /// read-only into containers.
    pub(super) fn open(
        pods: BorrowedFd<'_>,
        pods_path: &Path,
        uid: &'u str,
    ) -> Result<Option<Self>, VolumeError> {
        let relative = format!("{uid}/volumes/kubernetes.io~projected/{CONTAINER}");
        let path = pods_path.join(&relative);
        match beneath::folder_across_mounts(pods, &relative) {
            Ok(folder) => Ok(Some(Self { uid, path, folder })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(VolumeError::new(Some(uid), &path, error)),
        }
    }

    /// Reads files of the volume, all from before or all from after an update of the kubelet. None if the kubelet has not set up
    /// the volume yet, or is about to remove it.
    pub(super) fn read<T>(
        &self,
        read: impl Fn(&DataFolder<'_>) -> Result<T, VolumeError>,
    ) -> Result<Option<T>, VolumeError> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(name) = self.data_link()? else { return Ok(None) };
            let values = self.data(&name).and_then(|data| read(&data));
            // The kubelet removes a folder only after it has replaced the link. So the folder was complete.
            if self.data_link()?.as_ref() == Some(&name) {
                return values.map(Some);
            }
        }
        Err(self.error(DATA_LINK, invalid(format!("changed during each of {MAX_ATTEMPTS} reads"))))
    }

    /// Replaces a file of the volume. The limit is that of the reader; the file occupies memory of the node until the pod ends.
    pub(super) fn replace(&self, name: &'static str, contents: &[u8]) -> Result<(), VolumeError> {
        if contents.len() > MAX_BYTES {
            return Err(self.error(name, invalid(format!("more than {MAX_BYTES} bytes to write"))));
        }
        // Without the link, the folder is the place where the kubelet mounts the volume, on the disk of the node.
        if self.data_link()?.is_none() {
            return Err(self.error(name, Errno::NOENT));
        }
        replace::replace(self.folder.as_fd(), name, contents).map_err(|cause| self.error(name, cause))
    }

    fn data(&self, name: &str) -> Result<DataFolder<'_>, VolumeError> {
        let folder = beneath::folder(self.folder.as_fd(), name).map_err(|cause| self.error(name, cause))?;
        Ok(DataFolder { volume: self, folder })
    }

    /// Target of the kubelet's link; none if the link does not exist.
    fn data_link(&self) -> Result<Option<String>, VolumeError> {
        let target = match readlinkat(&self.folder, DATA_LINK, vec![]) {
            Ok(target) => target,
            Err(Errno::NOENT) => return Ok(None),
            Err(cause) => return Err(self.error(DATA_LINK, cause)),
        };
        data_folder_name(target).map(Some).map_err(|cause| self.error(DATA_LINK, cause))
    }

    fn error(&self, name: &str, cause: impl Into<io::Error>) -> VolumeError {
        VolumeError::new(Some(self.uid), &self.path.join(name), cause)
    }
}

/// The folder behind `..data`.
#[derive(Debug)]
pub(super) struct DataFolder<'v> {
    volume: &'v OpenVolume<'v>,
    folder: OwnedFd,
}

// === impl DataFolder ===

impl DataFolder<'_> {
    /// The contents of a file, with at most `limit` bytes; none if the file does not exist.
    pub(super) fn contents(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, VolumeError> {
        beneath::contents(self.folder.as_fd(), name, limit).map_err(|cause| self.error(name, cause))
    }

    /// The error for a file of the volume.
    pub(super) fn error(&self, name: &str, cause: impl Into<io::Error>) -> VolumeError {
        self.volume.error(name, cause)
    }
}

/// The target of the kubelet's link as the name of a folder in the volume.
fn data_folder_name(target: CString) -> io::Result<String> {
    let name = target.into_string().map_err(|_| invalid("leads to a name that is not UTF-8"))?;
    if name.len() > 2 && name.starts_with("..") && !name.contains('/') {
        return Ok(name);
    }
    Err(invalid(format!("leads to {name:?}; the kubelet's link leads to a folder in the volume")))
}
