//! Answers which pod a process of the node belongs to. Reads `/proc`, and caches the pods between polls.

mod folder;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use self::folder::{ProcessFolder, ReadFailure};
use super::cgroup::{CgroupPod, PodCgroups};

pub(super) use self::folder::ProcessUnreadable;

/// The pod of a process, or the reason why there is none.
#[derive(Debug)]
pub(super) enum ProcessOwner {
    /// The process belongs to this pod.
    Pod(CgroupPod),
    /// The process belongs to no pod.
    NoPod,
    /// The process has ended or is ending. If another process has its PID now, this other process is not the answer.
    Ended,
    /// The process exists, and its cgroups cannot be read.
    Unreadable(ProcessUnreadable),
}

/// The processes of the node.
#[derive(Debug)]
pub(super) struct ProcessTable {
    proc: PathBuf,
    cgroups: PodCgroups,
    cache: HashMap<u32, CachedProcess>,
}

/// A process in a pod. Processes outside of pods are not cached: a runtime starts a process in a cgroup of its own and then
/// moves it into the pod's. No process leaves a pod.
#[derive(Debug)]
struct CachedProcess {
    /// Together with the PID this identifies a process: the kernel uses PIDs again.
    start_time: Duration,
    pod: CgroupPod,
    /// Whether the process was looked up since the last poll ended.
    is_current: bool,
}

/// Maximum number of cached processes: 1 MiB of memory, and 64 processes on the GPU for each of 64 desktops. The cgroups of
/// further processes are read again at each look-up.
const MAX_CACHED: usize = 4096;

// === impl ProcessOwner ===

impl ProcessOwner {
    /// UID of the pod; `Some(None)` for a process outside of all pods, none if the owner is not known.
    pub(super) fn pod(&self) -> Option<Option<String>> {
        match self {
            Self::Pod(pod) => Some(Some(pod.uid.clone())),
            Self::NoPod => Some(None),
            Self::Ended | Self::Unreadable(_) => None,
        }
    }
}

// === impl ProcessTable ===

impl ProcessTable {
    /// The processes in `proc`, which is the `/proc` of the node's PID namespace. The agent's own process must be in it.
    ///
    /// # Errors
    /// Fails if the agent's own cgroups cannot be read.
    pub(super) fn new(proc: &Path) -> Result<Self, ProcessUnreadable> {
        let cgroups = agent_cgroups(proc).map_err(|failure| failure.of_existing(proc.join("self")))?;
        Ok(Self { proc: proc.to_owned(), cgroups, cache: HashMap::new() })
    }

    /// Whether the processes are those of the node. In a PID namespace of its own a container is process 1, and with `hostPID` it never
    /// is.
    ///
    /// # Errors
    /// Fails if the link `self` cannot be read.
    pub(super) fn is_of_node(&self) -> io::Result<bool> {
        Ok(fs::read_link(self.proc.join("self"))? != Path::new("1"))
    }

    /// The owner of the process that had this PID at the time `seen_at` (since the start of the node; the driver listed or
    /// sampled the process then). A process that started later is another process with the same PID.
    pub(super) fn owner(&mut self, pid: u32, seen_at: Duration) -> ProcessOwner {
        self.look_up(pid, seen_at).unwrap_or_else(|failure| match failure {
            ReadFailure::Ended => ProcessOwner::Ended,
            ReadFailure::Unreadable(unreadable) => ProcessOwner::Unreadable(unreadable),
        })
    }

    /// Ends a poll: forgets every process that was not looked up in it.
    pub(super) fn end_poll(&mut self) {
        self.cache.retain(|_, process| std::mem::take(&mut process.is_current));
    }

    fn look_up(&mut self, pid: u32, seen_at: Duration) -> Result<ProcessOwner, ReadFailure> {
        let folder = ProcessFolder::open(&self.proc, &pid.to_string())?;
        let start_time = folder.stat()?.start_time;
        if start_time > seen_at {
            return Ok(ProcessOwner::Ended);
        }
        if let Some(cached) = self.cache.get_mut(&pid).filter(|cached| cached.start_time == start_time) {
            cached.is_current = true;
            return Ok(ProcessOwner::Pod(cached.pod.clone()));
        }
        let pod = self.cgroups.pod_of(&folder.cgroup()?).map_err(|error| folder.invalid("cgroup", error))?;
        let Some(pod) = pod else { return outside(&folder) };
        self.insert(pid, CachedProcess { start_time, pod: pod.clone(), is_current: true });
        Ok(ProcessOwner::Pod(pod))
    }

    fn insert(&mut self, pid: u32, process: CachedProcess) {
        if self.cache.len() < MAX_CACHED || self.cache.contains_key(&pid) {
            self.cache.insert(pid, process);
        }
    }
}

fn agent_cgroups(proc: &Path) -> Result<PodCgroups, ReadFailure> {
    let own = ProcessFolder::open(proc, "self")?;
    PodCgroups::of_agent(&own.cgroup()?).map_err(|error| own.invalid("cgroup", error))
}

/// The answer for a process whose cgroups name no pod. cgroup v1 shows `/` for every process that is ending
/// (kernel, `proc_cgroup_show`).
fn outside(folder: &ProcessFolder) -> Result<ProcessOwner, ReadFailure> {
    Ok(if folder.stat()?.is_ending { ProcessOwner::Ended } else { ProcessOwner::NoPod })
}
