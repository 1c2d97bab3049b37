//! The folder of one cluster, and the control groups of the same name. Both are removed when their owner ends. If the owner
//! was killed, the next run removes them.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::role::isolated_folder;

/// A cluster's folder. A file lock marks its owner and ends with the owner's process.
pub(in crate::cluster) struct Workdir {
    path: PathBuf,
    _owner: File,
}

/// Every control group folder that a cluster of this name has or can have.
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
    /// Removes the folders of owners that have ended, and creates a new folder with `log/` in it.
    pub(in crate::cluster) fn create() -> Result<Self> {
        // In isolation the parent is the isolated cluster's folder, so the supervisor removes the new folder with it.
        let parent = isolated_folder().unwrap_or_else(std::env::temp_dir);
        remove_abandoned(&parent);
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)
            .with_context(|| format!("creating a folder in {}", parent.display()))?
            .keep();
        // The lock is taken before the file gets its final name, because other runs look for that name.
        let unnamed = path.join("owner.new");
        let owner = File::create(&unnamed)?;
        owner.lock()?;
        fs::rename(unnamed, path.join(OWNER))?;
        fs::create_dir(path.join("log"))?;
        Ok(Self { path, _owner: owner })
    }

    pub(in crate::cluster) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove_abandoned(parent: &Path) {
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
        // A killed process leaves its control group a moment after its parent has waited for it.
        let start = Instant::now();
        while remove_group(&group).is_err() && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let _ = fs::remove_dir_all(path);
}

/// Removes a control group with rmdir only, the innermost group first: its files are not real files.
fn remove_group(group: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(group) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_group(&entry.path())?;
    }
    fs::remove_dir(group)
}

const PREFIX: &str = "vdi-metrics-testbed-";
const OWNER: &str = "owner";
