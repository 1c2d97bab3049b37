//! The pod's files in a temporary folder.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use vdi_metrics::contract::{ANNOTATIONS, VOLUME_PATH};

/// Files, processes and variables of a pod, as the sidecar's container sees them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PodFixture {
    /// Annotations of the pod, as the downward API writes them.
    annotations: BTreeMap<String, String>,
    /// Environment of each process by its number.
    processes: BTreeMap<u32, String>,
    /// Process number of the sidecar.
    own_pid: u32,
    /// Other files by path.
    files: BTreeMap<PathBuf, String>,
    /// Whether the disk is full on which the kubelet has created the file for the termination message.
    has_full_disk: bool,
    /// Files that exist and cannot be read: symbolic links to themselves.
    pub(super) unreadable: Vec<PathBuf>,
    /// Where the driver's library is in the container.
    pub(super) library: Option<PathBuf>,
    /// Program and arguments that start the sidecar; empty if it is started directly.
    #[serde(skip)]
    pub(super) wrapper: Vec<OsString>,
    /// Environment variables of the sidecar.
    pub(super) variables: BTreeMap<String, String>,
}

impl Default for PodFixture {
    /// A pod that does not share its processes: the sidecar is process 1.
    fn default() -> Self {
        Self {
            annotations: BTreeMap::new(),
            processes: BTreeMap::new(),
            own_pid: 1,
            files: BTreeMap::new(),
            has_full_disk: false,
            unreadable: vec![],
            library: None,
            wrapper: vec![],
            variables: BTreeMap::new(),
        }
    }
}

impl PodFixture {
    /// A pod that shares its processes, with one process of the desktop.
    pub(super) fn shared(pid: u32, environment: &str) -> Self {
        Self { own_pid: 9, processes: [(pid, environment.to_owned())].into(), ..Self::default() }
    }

    /// A pod whose annotation names this device.
    pub(super) fn annotated(gpu: &str) -> Self {
        let annotations = [("vdi-metrics.io/gpu".to_owned(), gpu.to_owned())].into();
        Self { annotations, ..Self::default() }
    }

    /// A pod whose sidecar is started by this program with these arguments.
    pub(super) fn wrapped(wrapper: Vec<OsString>) -> Self {
        Self { wrapper, ..Self::default() }
    }

    /// A pod whose termination message cannot be written.
    pub(super) fn on_a_full_disk() -> Self {
        Self { has_full_disk: true, ..Self::default() }
    }

    /// Creates the files under `root`.
    pub(super) fn create(&self, root: &Path) {
        let write = |path: &Path, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("dev/termination-log".as_ref(), "");
        if self.has_full_disk {
            let log = root.join("dev/termination-log");
            fs::remove_file(&log).unwrap();
            std::os::unix::fs::symlink("/dev/full", log).unwrap();
        }
        for (pid, environment) in &self.processes {
            write(format!("proc/{pid}/environ").as_ref(), environment);
        }
        fs::create_dir_all(root.join("proc")).unwrap();
        std::os::unix::fs::symlink(self.own_pid.to_string(), root.join("proc/self")).unwrap();
        // The files of the network namespace in which the sidecar runs.
        std::os::unix::fs::symlink("/proc/self/net", root.join("proc/net")).unwrap();
        let annotations: String =
            self.annotations.iter().map(|(key, value)| format!("{key}={value:?}\n")).collect();
        write(&Path::new(VOLUME_PATH.trim_start_matches('/')).join(ANNOTATIONS), &annotations);
        for (path, text) in &self.files {
            write(path, text);
        }
        if let Some(path) = &self.library {
            write(path, "");
            fs::remove_file(root.join(path)).unwrap();
            std::os::unix::fs::symlink(fake_nvml::library().unwrap(), root.join(path)).unwrap();
        }
        for path in &self.unreadable {
            write(path, "");
            fs::remove_file(root.join(path)).unwrap();
            std::os::unix::fs::symlink(path.file_name().unwrap(), root.join(path)).unwrap();
        }
    }
}
