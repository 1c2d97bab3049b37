//! The folder of one bed, and what carries its name elsewhere: control groups. Both go when the owner goes, or with
//! the next owner if it was killed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::namespaces;

/// A bed's folder, owned through a lock that ends with the process.
pub(super) struct Workdir {
    path: PathBuf,
    _owner: File,
}

/// Every control group folder that a bed of this name has or may have.
pub(super) fn cgroups(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.join(name)];
    }
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten();
    hierarchies
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path().join(name))
        .collect()
}

// === impl Workdir ===

impl Workdir {
    /// A new folder with `log/` in it, after removing what dead owners left.
    pub(super) fn create() -> Result<Self> {
        // Inside a bed the bed's own folder, so that nobody has to sweep for what is killed with it.
        let parent = namespaces::inside().unwrap_or_else(std::env::temp_dir);
        sweep(&parent);
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)
            .with_context(|| format!("creating a folder in {}", parent.display()))?
            .keep();
        // Locked before it has the name that another run's sweep looks for.
        let unnamed = path.join("owner.new");
        let owner = File::create(&unnamed)?;
        owner.lock()?;
        fs::rename(unnamed, path.join(OWNER))?;
        fs::create_dir(path.join("log"))?;
        Ok(Self { path, _owner: owner })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Ok(owner) = File::open(entry.path().join(OWNER))
            && !matches!(owner.try_lock(), Err(TryLockError::WouldBlock))
        {
            remove(&entry.path());
        }
    }
}

fn remove(path: &Path) {
    for group in path.file_name().map(|name| cgroups(&name.to_string_lossy())).unwrap_or_default() {
        // Killed processes leave their group a moment later than they are gone for their parent.
        let start = Instant::now();
        while remove_group(&group).is_err() && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let _ = fs::remove_dir_all(path);
}

/// A control group is removed with rmdir alone, innermost first: its files are not files.
fn remove_group(group: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(group) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_group(&entry.path())?;
    }
    fs::remove_dir(group)
}

const PREFIX: &str = "vdi-metrics-bed-";
const OWNER: &str = "owner";
