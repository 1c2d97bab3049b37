//! Replaces a file of a volume, so that a reader sees the old file or the new one and never a part.

use std::{io, io::Write};

use rustix::{
    fd::BorrowedFd,
    fs::{AtFlags, FlockOperation, Mode, fchmod, flock, renameat, unlinkat},
    io::Errno,
};

use super::beneath;

/// Name of the new file until it is complete. One fixed name: at most one file remains if the agent is killed.
pub(super) const TEMPORARY: &str = ".vdi-metrics.tmp";

/// Every user may read the file: the sidecar's UID differs from pod to pod.
const MODE: Mode = Mode::RUSR.union(Mode::RGRP).union(Mode::ROTH);

/// Writes a temporary file and renames it to `name`. A link with one of the two names is replaced, not followed.
///
/// The lock keeps a second agent from renaming a temporary file that this agent has not completed. A pod can hold the lock of its
/// own volume, so the agent does not wait for it.
///
/// If a pod has an `fsGroup`, the kubelet visits every name of the volume during an update. If the temporary name disappears
/// during the visit, the update fails and the kubelet unmounts the volume (`walk` in `pkg/volume/volume_linux.go`, `SetUpAt` in
/// `pkg/volume/projected/projected.go`, Kubernetes 1.37). The sidecar then keeps the old volume. With the kubelet's own `walk` on
/// a tmpfs, a write of 2 KB hits a visit that begins within 3 µs: about one update in 5 million at a write every 15 s. So no call is
/// made between the creation and the rename that is not necessary.
pub(super) fn replace(folder: BorrowedFd<'_>, name: &str, contents: &[u8]) -> io::Result<()> {
    flock(folder, FlockOperation::NonBlockingLockExclusive)?;
    remove(folder, TEMPORARY)?;
    let replaced = write_temporary(folder, contents)
        .and_then(|()| renameat(folder, TEMPORARY, folder, name).map_err(io::Error::from));
    if replaced.is_err() {
        // The next write removes the file if this attempt fails. The first error is the cause.
        _ = remove(folder, TEMPORARY);
    }
    replaced
}

/// Removes a file. Succeeds if the file does not exist.
pub(super) fn remove(folder: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn write_temporary(folder: BorrowedFd<'_>, contents: &[u8]) -> io::Result<()> {
    let mut file = beneath::create(folder, TEMPORARY, MODE)?;
    // The umask of the agent may have removed bits.
    fchmod(&file, MODE)?;
    file.write_all(contents)
}
