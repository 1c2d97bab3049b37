//! Reads the processes of the pod in `/proc`.

use std::{fs, io, path::Path};

use super::read::{self, Unreadable};
use crate::{
    gpu::id::{self, Id},
    sidecar::attribution::NotApplicable,
};

/// Why the processes of the pod give no evidence.
#[derive(Debug)]
pub(in crate::sidecar) enum NoProcessEvidence {
    /// There is no evidence, for this reason.
    Absent(NotApplicable),
    /// A file cannot be read, so there may be evidence.
    Unreadable(Unreadable),
}

const VISIBLE_DEVICES: &[u8] = b"NVIDIA_VISIBLE_DEVICES=";

/// Maximum number of processes whose environment is read. A desktop has a few hundred processes. Reading 1024 environments of
/// 5 kB took 30 ms of CPU time.
const MAX_PROCESSES: usize = 1024;
/// Maximum number of devices that the processes name. No node has more devices.
const MAX_DEVICES: usize = 64;

/// Checks that `proc` shows exactly the processes of the pod.
pub(super) fn check_namespace(proc: &Path) -> Result<(), NoProcessEvidence> {
    // In the node's PID namespace, process 2 is `kthreadd`, the parent of all kernel threads. Other namespaces have none.
    let second = read::file(&proc.join("2/comm"))?;
    if second.is_some_and(|name| name.trim_ascii() == b"kthreadd") {
        return Err(NotApplicable::NodeProcesses.into());
    }
    // If the container has its own PID namespace, the sidecar is process 1.
    match own_process(proc)? {
        Some(own) if own != "1" => Ok(()),
        _ => Err(NotApplicable::NotShared.into()),
    }
}

/// The devices that `NVIDIA_VISIBLE_DEVICES` names in the pod's processes, each once. In containers without a device, the value
/// of this variable is `all`, `void` or a path. Such a value is skipped if another process names a device. If processes name
/// different devices, the result contains all of them: several containers of a pod can have a device, and the session is the pod.
///
/// No other variable is stored, because environments contain secrets.
pub(super) fn devices_in_environments(proc: &Path) -> Result<Vec<Id>, NoProcessEvidence> {
    check_namespace(proc)?;
    let mut devices: Vec<Id> = vec![];
    let mut reasons = vec![];
    for pid in other_processes(proc)? {
        match named_devices(&proc.join(pid).join("environ"))? {
            Ok(named) => named.into_iter().for_each(|id| {
                if !devices.contains(&id) {
                    devices.push(id);
                }
            }),
            Err(reason) => reasons.push(reason),
        }
        if devices.len() > MAX_DEVICES {
            return Err(Unreadable::invalid(proc, format!("more than {MAX_DEVICES} devices")).into());
        }
    }
    if !devices.is_empty() {
        return Ok(devices);
    }
    // A process whose environment cannot be read may name a device.
    let most_important = [NotApplicable::NoPermission, NotApplicable::NotUnderstood];
    let reason = most_important.into_iter().find(|reason| reasons.contains(reason));
    Err(reason.unwrap_or(NotApplicable::NotGiven).into())
}

/// The devices that one process names, or the reason why it names none.
fn named_devices(environ: &Path) -> Result<Result<Vec<Id>, NotApplicable>, Unreadable> {
    let environment = match read::file(environ) {
        Err(unreadable) if unreadable.error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(Err(NotApplicable::NoPermission));
        }
        environment => environment?.unwrap_or_default(),
    };
    let Some(value) = variable(&environment) else { return Ok(Err(NotApplicable::NotGiven)) };
    let ids = str::from_utf8(value).ok().and_then(|value| id::list(value).ok());
    Ok(ids.filter(|ids| !ids.is_empty()).ok_or(NotApplicable::NotUnderstood))
}

/// The PIDs that `proc` lists, without the sidecar's own.
fn other_processes(proc: &Path) -> Result<Vec<String>, Unreadable> {
    let own = own_process(proc)?;
    let mut pids = read::names(proc)?.unwrap_or_default();
    pids.retain(|name| name.parse::<u32>().is_ok() && own.as_ref() != Some(name));
    if pids.len() > MAX_PROCESSES {
        return Err(Unreadable::invalid(proc, format!("more than {MAX_PROCESSES} processes")));
    }
    Ok(pids)
}

/// The sidecar's own PID; none if `proc` does not exist.
fn own_process(proc: &Path) -> Result<Option<String>, Unreadable> {
    let link = proc.join("self");
    let own = read::present(&link, fs::read_link(&link))?;
    Ok(own.map(|pid| pid.to_string_lossy().into_owned()))
}

/// Value of `NVIDIA_VISIBLE_DEVICES` in the contents of `/proc/PID/environ`.
fn variable(environment: &[u8]) -> Option<&[u8]> {
    environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(VISIBLE_DEVICES))
}

// === impl NoProcessEvidence ===

impl From<NotApplicable> for NoProcessEvidence {
    fn from(reason: NotApplicable) -> Self {
        Self::Absent(reason)
    }
}

impl From<Unreadable> for NoProcessEvidence {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
    const OTHER: &str = "GPU-00000000-0c3a-4f6e-9b7d-21a4c8e6f035";

    /// A `/proc` with the sidecar as process 9 and with processes of these environments; none for one without a file.
    fn proc(environments: &[Option<String>]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("9", proc.path().join("self")).unwrap();
        fs::create_dir(proc.path().join("9")).unwrap();
        fs::write(proc.path().join("9/environ"), format!("NVIDIA_VISIBLE_DEVICES={OTHER}\0")).unwrap();
        for (number, environment) in environments.iter().enumerate() {
            let process = proc.path().join((20 + number).to_string());
            fs::create_dir(&process).unwrap();
            if let Some(environment) = environment {
                fs::write(process.join("environ"), environment).unwrap();
            }
        }
        proc
    }

    fn variable_with(value: &str) -> Option<String> {
        Some(format!("A=1\0NVIDIA_VISIBLE_DEVICES={value}\0B=2\0"))
    }

    /// The UUIDs, or why there is none.
    fn devices(proc: &Path) -> Result<Vec<String>, String> {
        match devices_in_environments(proc) {
            Ok(ids) => Ok(ids.iter().filter_map(Id::as_uuid).map(str::to_owned).collect()),
            Err(NoProcessEvidence::Absent(reason)) => Err(reason.as_str().to_owned()),
            Err(NoProcessEvidence::Unreadable(unreadable)) => Err(unreadable.error.to_string()),
        }
    }

    #[test]
    fn the_search_goes_on_to_the_processes_that_name_a_device() {
        let uuids = |uuids: &[&str]| Ok(uuids.iter().map(|uuid| (*uuid).to_owned()).collect());
        let names = variable_with;
        for (environments, expected) in [
            (vec![names("all"), names("void"), names(""), names("/var/run/x"), names(CARD)], uuids(&[CARD])),
            (vec![names("nvidia.com/gpu=all"), names(&format!("nvidia.com/gpu={CARD}"))], uuids(&[CARD])),
            (
                vec![None, Some("XNVIDIA_VISIBLE_DEVICES=0\0".to_owned()), names(CARD), names(CARD)],
                uuids(&[CARD]),
            ),
            (vec![names("all"), None, Some(String::new())], Err("not_understood".to_owned())),
            (vec![None, Some("A=1\0".to_owned())], Err("not_given".to_owned())),
        ] {
            assert_eq!(devices(proc(&environments).path()), expected, "{environments:?}");
        }
        let mut both = devices(proc(&[names(CARD), names(OTHER), names(CARD)]).path()).unwrap();
        both.sort();
        assert_eq!(both, [OTHER, CARD], "the session is the pod");
    }

    #[test]
    fn a_search_that_is_not_complete_is_unreadable() {
        let folder_as_file = proc(&[variable_with(CARD), None]);
        fs::create_dir(folder_as_file.path().join("21/environ")).unwrap();
        assert!(devices(folder_as_file.path()).is_err_and(|why| why.contains("directory")));
        let many = proc(&vec![Some(String::new()); MAX_PROCESSES + 1]);
        assert_eq!(devices(many.path()), Err("more than 1024 processes".to_owned()));
        let list = |process: usize| {
            (0..40).map(|card| (process * 40 + card).to_string()).collect::<Vec<_>>().join(",")
        };
        let devices_of_two = proc(&[variable_with(&list(0)), variable_with(&list(1))]);
        assert_eq!(devices(devices_of_two.path()), Err("more than 64 devices".to_owned()));
    }

    #[test]
    fn the_pid_namespace_is_recognised() {
        let namespace = |own: Option<&str>, second: Option<&str>| {
            let proc = tempfile::tempdir().unwrap();
            if let Some(own) = own {
                std::os::unix::fs::symlink(own, proc.path().join("self")).unwrap();
            }
            fs::create_dir(proc.path().join("2")).unwrap();
            if let Some(name) = second {
                fs::write(proc.path().join("2/comm"), name).unwrap();
            }
            match check_namespace(proc.path()) {
                Ok(()) => "shared",
                Err(NoProcessEvidence::Absent(reason)) => reason.as_str(),
                Err(NoProcessEvidence::Unreadable(_)) => "unreadable",
            }
        };
        assert_eq!(namespace(Some("9"), None), "shared");
        assert_eq!(namespace(Some("9"), Some("sh\n")), "shared");
        assert_eq!(namespace(Some("9"), Some("kthreadd\n")), "node_processes");
        assert_eq!(namespace(Some("1"), None), "not_shared");
        assert_eq!(namespace(None, None), "not_shared");
        let second_is_a_folder = proc(&[]);
        fs::create_dir_all(second_is_a_folder.path().join("2/comm")).unwrap();
        assert!(matches!(check_namespace(second_is_a_folder.path()), Err(NoProcessEvidence::Unreadable(_))));
    }
}
