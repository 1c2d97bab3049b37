//! Reads files and folders. Distinguishes a file that does not exist from a file that cannot be read.

use std::{
    error::Error,
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// A file or folder that exists and that could not be read, or not completely.
#[derive(Debug)]
pub(in crate::sidecar) struct Unreadable {
    path: PathBuf,
    /// Why the file cannot be read.
    pub(super) error: io::Error,
}

/// Maximum number of bytes of a file. All annotations of a pod together can have 256 KiB, and the downward API writes up to four
/// bytes for each of them. The environment of a process has at most 2 MiB with the usual stack limit of 8 MiB (`execve(2)`).
const MAX_FILE_BYTES: u64 = 2 << 20;

/// Number of attempts to open a file that is missing. Two attempts failed once in a test on a loaded machine.
const MAX_ATTEMPTS: usize = 4;

/// `ESRCH`: the process of a file in `/proc` has ended.
const NO_SUCH_PROCESS: i32 = 3;

/// The contents of a file; none if the file does not exist.
///
/// # Errors
/// Fails if the file cannot be read, or has more than [`MAX_FILE_BYTES`].
pub(super) fn file(path: &Path) -> Result<Option<Vec<u8>>, Unreadable> {
    // The kubelet swaps a symbolic link to a new folder and then removes the old folder. If it does so while the path is
    // resolved, the file is missing for this one attempt.
    for _ in 1..MAX_ATTEMPTS {
        if let Some(contents) = present(path, contents(path))? {
            return Ok(Some(contents));
        }
    }
    present(path, contents(path))
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// The names of the entries of a folder; none if the folder does not exist.
///
/// # Errors
/// Fails if the folder cannot be read.
pub(super) fn names(folder: &Path) -> Result<Option<Vec<String>>, Unreadable> {
    let names = || fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
    // No file of evidence has a name that is not UTF-8.
    let text =
        |names: Vec<_>| names.into_iter().filter_map(|name| std::ffi::OsString::into_string(name).ok());
    Ok(present(folder, names())?.map(|names| text(names).collect()))
}

/// The value that was read from `path`; none if the file does not exist.
///
/// # Errors
/// Fails if the file could not be read for any other reason.
pub(super) fn present<T>(path: &Path, value: io::Result<T>) -> Result<Option<T>, Unreadable> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(NO_SUCH_PROCESS) => Ok(None),
        Err(error) => Err(Unreadable::new(path, error)),
    }
}

// === impl Unreadable ===

impl Unreadable {
    /// The file at `path`, which cannot be read because of `error`.
    pub(super) fn new(path: &Path, error: io::Error) -> Self {
        Self { path: path.to_owned(), error }
    }

    /// The file at `path`, whose contents are not complete or not valid.
    pub(super) fn invalid(path: &Path, why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(path, io::Error::new(io::ErrorKind::InvalidData, why))
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_missing_file_is_absent_and_every_other_failure_is_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        symlink("loop", path("loop")).unwrap();
        fs::write(path("large"), vec![0; MAX_FILE_BYTES as usize + 1]).unwrap();
        fs::write(path("full"), vec![0; MAX_FILE_BYTES as usize]).unwrap();
        assert!(file(&path("absent")).unwrap().is_none() && names(&path("absent")).unwrap().is_none());
        assert_eq!(file(&path("full")).unwrap().map(|bytes| bytes.len() as u64), Some(MAX_FILE_BYTES));
        for name in ["loop", "large", ""] {
            let error = file(&path(name)).unwrap_err().to_string();
            assert!(error.starts_with(path(name).to_str().unwrap()), "{error}");
        }
        assert!(names(&path("loop")).is_err() && names(&path("large")).is_err());
    }

    /// Replaces the folder behind a symbolic link again and again, as the kubelet does with a downward API volume.
    #[test]
    fn a_file_is_never_absent_while_the_kubelet_replaces_it() {
        let volume = tempfile::tempdir().unwrap();
        let path = |name: &str| volume.path().join(name);
        symlink("..data/annotations", path("annotations")).unwrap();
        let replace = |number: usize| {
            let new = format!("..{number}");
            fs::create_dir(path(&new)).unwrap();
            fs::write(path(&new).join("annotations"), "text").unwrap();
            symlink(&new, path("..data_tmp")).unwrap();
            fs::rename(path("..data_tmp"), path("..data")).unwrap();
            if let Some(old) = number.checked_sub(1) {
                fs::remove_dir_all(path(&format!("..{old}"))).unwrap();
            }
        };
        replace(0);
        std::thread::scope(|scope| {
            let kubelet = scope.spawn(|| (1..300).for_each(replace));
            while !kubelet.is_finished() {
                assert_eq!(file(&path("annotations")).unwrap().as_deref(), Some(&b"text"[..]));
            }
        });
    }
}
