//! A volume that the agent cannot use, and why.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

/// A file or folder that could not be read or written.
#[derive(Debug)]
pub(in crate::node) struct VolumeError {
    uid: Option<String>,
    path: PathBuf,
    cause: io::Error,
}

/// Errors of the system whose text does not name the remedy.
const REMEDIES: &[(Errno, &str)] = &[
    (Errno::NOSYS, "the agent needs the system call openat2: use Linux 5.6 or newer"),
    (Errno::ACCESS, "run the agent with UID 0 of the node, and check its SELinux type"),
    (Errno::PERM, "run the agent with UID 0 of the node, and with a seccomp profile that allows openat2"),
    (Errno::ROFS, "do not mount the kubelet's pods folder recursively read-only into the agent"),
    (
        Errno::NOSPC,
        "the volume is as large as the pod's memory limit or the node's memory: remove other data from it",
    ),
    (Errno::LOOP, "the kubelet creates no such link; the agent does not follow it"),
    (Errno::XDEV, "the kubelet mounts nothing inside this volume; the agent does not enter the mount"),
    (Errno::WOULDBLOCK, "another program writes to the volume: run one agent on each node"),
];

// === impl VolumeError ===

impl VolumeError {
    /// The file or folder at `path`, which cannot be used because of `cause`.
    pub(super) fn new(uid: Option<&str>, path: &Path, cause: impl Into<io::Error>) -> Self {
        Self { uid: uid.map(str::to_owned), path: path.to_owned(), cause: cause.into() }
    }

    /// UID of the pod; none if the error is not about one pod.
    pub(in crate::node) fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.cause)?;
        let code = Errno::from_io_error(&self.cause);
        if self.uid.is_none() && matches!(code, Some(Errno::NOENT | Errno::NOTDIR)) {
            return write!(f, "; check --kubelet-root, and that its folder pods is mounted");
        }
        match REMEDIES.iter().find(|(errno, _)| Some(*errno) == code) {
            Some((_, remedy)) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl Error for VolumeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// A cause that is not an error of the system: contents or arguments that are not valid.
pub(super) fn invalid(why: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
