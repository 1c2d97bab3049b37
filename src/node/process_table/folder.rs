//! Reads the files of one process in `/proc`.

use std::{
    error::Error,
    fmt,
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{Mode, OFlags};

/// The open folder of a process. The kernel binds it to the process, not to the PID: once the process has ended, every read
/// fails, even if another process has the PID.
#[derive(Debug)]
pub(super) struct ProcessFolder {
    path: PathBuf,
    descriptor: OwnedFd,
}

/// The used fields of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// Whether the kernel is ending the process.
    pub(super) is_ending: bool,
    /// Time at which the process started, since the start of the node, rounded down to 10 ms.
    pub(super) start_time: Duration,
}

/// Why a file of a process was not read.
#[derive(Debug)]
pub(super) enum ReadFailure {
    /// The process has ended.
    Ended,
    /// The process exists.
    Unreadable(ProcessUnreadable),
}

/// A file of a process that exists and that could not be read, or not completely.
#[derive(Debug)]
pub(in crate::node) struct ProcessUnreadable {
    path: PathBuf,
    error: io::Error,
}

/// Maximum number of bytes of a file. `stat` has at most 52 numbers. `cgroup` has one path of at most 4096 bytes with cgroup v2,
/// and up to 14 paths of about 200 bytes with v1.
const MAX_BYTES: u64 = 16 << 10;

/// `ESRCH`: the process of an open file has ended.
const NO_SUCH_PROCESS: i32 = 3;

/// Flag of a process that is ending (kernel, `PF_EXITING`).
const ENDING: u64 = 4;

/// Unit of `starttime` (kernel, `USER_HZ`: 100 per second on amd64 and arm64).
const MILLISECONDS_PER_TICK: u64 = 10;

// === impl ProcessFolder ===

impl ProcessFolder {
    /// The folder `name` of `proc`: a PID or `self`.
    pub(super) fn open(proc: &Path, name: &str) -> Result<Self, ReadFailure> {
        let path = proc.join(name);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Self { path, descriptor }),
            Err(error) => Err(ReadFailure::from_error(path, error.into())),
        }
    }

    /// Contents of `cgroup`.
    pub(super) fn cgroup(&self) -> Result<String, ReadFailure> {
        self.read("cgroup")
    }

    /// The used fields of `stat`.
    pub(super) fn stat(&self) -> Result<ProcessStat, ReadFailure> {
        let text = self.read("stat")?;
        ProcessStat::parse(&text).ok_or_else(|| self.invalid("stat", "field 9 or 22 is not a number"))
    }

    /// The failure for a file with contents that are not valid.
    pub(super) fn invalid(&self, file: &str, why: impl Into<Box<dyn Error + Send + Sync>>) -> ReadFailure {
        let error = io::Error::new(io::ErrorKind::InvalidData, why);
        ReadFailure::Unreadable(ProcessUnreadable { path: self.path.join(file), error })
    }

    /// Contents of a file. The container chooses the bytes of some names, so they need not be UTF-8.
    fn read(&self, file: &str) -> Result<String, ReadFailure> {
        let bytes = self.bytes(file).map_err(|error| ReadFailure::from_error(self.path.join(file), error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn bytes(&self, file: &str) -> io::Result<Vec<u8>> {
        let opened =
            rustix::fs::openat(&self.descriptor, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut bytes = vec![];
        File::from(opened).take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MAX_BYTES} bytes")));
        }
        Ok(bytes)
    }
}

// === impl ProcessStat ===

impl ProcessStat {
    /// Reads field 9, `flags`, and field 22, `starttime` (`proc_pid_stat(5)`).
    fn parse(text: &str) -> Option<Self> {
        // Field 2 is the name of the process in parentheses. The process chooses it, and it can contain spaces, parentheses and
        // line breaks. All later fields are numbers, except one letter.
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let flags: u64 = fields.nth(6)?.parse().ok()?;
        let ticks: u64 = fields.nth(12)?.parse().ok()?;
        let start_time = Duration::from_millis(ticks.saturating_mul(MILLISECONDS_PER_TICK));
        Some(Self { is_ending: flags & ENDING != 0, start_time })
    }
}

// === impl ReadFailure ===

impl ReadFailure {
    fn from_error(path: PathBuf, error: io::Error) -> Self {
        let has_ended =
            error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS);
        if has_ended { Self::Ended } else { Self::Unreadable(ProcessUnreadable { path, error }) }
    }

    /// The failure to read `path`, which belongs to a process that exists.
    pub(super) fn of_existing(self, path: PathBuf) -> ProcessUnreadable {
        match self {
            Self::Unreadable(unreadable) => unreadable,
            Self::Ended => ProcessUnreadable { path, error: io::ErrorKind::NotFound.into() },
        }
    }
}

// === impl ProcessUnreadable ===

impl fmt::Display for ProcessUnreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)?;
        match self.error.kind() {
            io::ErrorKind::PermissionDenied => {
                f.write_str("; the agent needs UID 0, and a security module or the mount option hidepid must not hide /proc")
            }
            _ => Ok(()),
        }
    }
}

impl Error for ProcessUnreadable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_permission_names_the_remedy() {
        let path = PathBuf::from("/proc/7/stat");
        let failure = ReadFailure::from_error(path.clone(), io::ErrorKind::PermissionDenied.into());
        let error = failure.of_existing(path).to_string();
        assert!(error.starts_with("/proc/7/stat: permission denied; the agent needs UID 0"), "{error}");
    }
}
