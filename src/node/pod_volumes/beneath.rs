//! Opens files and folders below an open folder. A link is never followed, and an open never waits: a pod may have put a link, a
//! FIFO or a device into the place of a file.

use std::{fs::File, io, io::Read, os::fd::OwnedFd};

use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2},
    io::Errno,
};

use super::error::invalid;

/// `BENEATH` refuses `..` and absolute paths, the other two refuse links.
const NO_LINKS: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A FIFO without a writer does not block an open, and a terminal does not become the agent's terminal.
const NO_WAIT: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a folder for reading. The path may lead into another mount: the kubelet mounts each volume.
pub(super) fn folder_across_mounts(parent: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    openat2(parent, path, NO_WAIT | OFlags::DIRECTORY, Mode::empty(), NO_LINKS)
}

/// Opens a folder for reading, in the same mount as its parent.
pub(super) fn folder(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    open(parent, name, OFlags::DIRECTORY, Mode::empty())
}

/// Creates a file for writing. Fails if the name exists.
pub(super) fn create(parent: BorrowedFd<'_>, name: &str, mode: Mode) -> Result<File, Errno> {
    open(parent, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, mode).map(File::from)
}

/// The contents of a file; none if the file does not exist.
///
/// # Errors
/// Fails if the file is not a regular file, has more than `limit` bytes, or cannot be read.
pub(super) fn contents(parent: BorrowedFd<'_>, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match open(parent, name, OFlags::RDONLY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        file => file?,
    };
    check_regular(file.as_fd())?;
    let mut bytes = vec![];
    File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(invalid(format!("more than {limit} bytes")));
    }
    Ok(Some(bytes))
}

fn check_regular(file: BorrowedFd<'_>) -> io::Result<()> {
    match FileType::from_raw_mode(fstat(file)?.st_mode) {
        FileType::RegularFile => Ok(()),
        other => Err(invalid(format!("{other:?}, not a regular file"))),
    }
}

fn open(parent: BorrowedFd<'_>, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    openat2(parent, name, NO_WAIT | flags, mode, NO_LINKS | ResolveFlags::NO_XDEV)
}
