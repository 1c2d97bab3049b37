//! The folders of a node that its agent and its sidecars read, in a temporary folder: the kubelet's volumes of session pods, the
//! containers of their sidecars, and processes in cgroups of pods.
#![allow(clippy::unwrap_used, reason = "only tests use this module, and they fail by panicking")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use fake_nvml::Scenario;

/// PID of the agent.
const AGENT: u32 = 99;

/// The name of the session pod with this UID, in the namespace `desktops`.
#[must_use]
pub fn pod_name(uid: &str) -> String {
    format!("desktop-{}", &uid[..8])
}

/// A node with a fake driver.
#[derive(Debug)]
pub struct NodeFolder {
    folder: tempfile::TempDir,
}

// === impl NodeFolder ===

impl NodeFolder {
    /// A node with one process outside of all pods: the agent.
    ///
    /// # Panics
    /// When the folder cannot be written, as in every function of this type.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap() };
        node.add_process(AGENT, "/system.slice/agent.service");
        node.set_agent(AGENT);
        for folder in ["kubelet/pods", "logs"] {
            fs::create_dir_all(node.path(folder)).unwrap();
        }
        node.play(scenario);
        node
    }

    /// Sets which process the agent is.
    pub fn set_agent(&self, pid: u32) {
        let link = self.path("proc/self");
        let _ = fs::remove_file(&link);
        symlink(pid.to_string(), link).unwrap();
    }

    /// Replaces the state of the fake driver.
    pub fn play(&self, scenario: &Scenario) {
        scenario.write(&self.scenario()).unwrap();
    }

    /// Adds a process in this cgroup that started when the node started.
    pub fn add_process(&self, pid: u32, cgroup: &str) {
        let folder = self.path("proc").join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        let stat = format!("{pid} (program) S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0\n");
        fs::write(folder.join("stat"), stat).unwrap();
    }

    /// Adds a process in a pod.
    pub fn add_process_of_pod(&self, uid: &str, pid: u32) {
        self.add_process(pid, &format!("/kubepods/burstable/pod{uid}/{}", "a".repeat(64)));
    }

    /// Adds a session pod with one process: its volume as the kubelet writes it, and the process in the pod's cgroup.
    pub fn add_session(&self, uid: &str, pid: u32) {
        let volume = self.volume(uid);
        fs::create_dir_all(volume.join("..2026")).unwrap();
        symlink("..2026", volume.join("..data")).unwrap();
        self.annotate(uid, "");
        symlink("..data/annotations", volume.join("annotations")).unwrap();
        fs::create_dir_all(self.logs(uid, &pod_name(uid))).unwrap();
        self.add_process_of_pod(uid, pid);
    }

    /// Gives a session pod another name.
    pub fn rename(&self, uid: &str, name: &str) {
        fs::rename(self.logs(uid, &pod_name(uid)), self.logs(uid, name)).unwrap();
    }

    /// The kubelet's folder with the logs of this pod.
    fn logs(&self, uid: &str, name: &str) -> PathBuf {
        self.path("logs").join(format!("desktops_{name}_{uid}"))
    }

    /// Replaces the pod's annotations, in the format of the downward API.
    pub fn annotate(&self, uid: &str, annotations: &str) {
        fs::write(self.volume(uid).join("..2026/annotations"), annotations).unwrap();
    }

    /// The volume of the sidecar in this pod.
    #[must_use]
    pub fn volume(&self, uid: &str) -> PathBuf {
        self.path("kubelet/pods").join(uid).join("volumes/kubernetes.io~projected/vdi-metrics")
    }

    /// The command of the node's agent. It polls at this interval in seconds.
    #[must_use]
    pub fn agent(&self, program: &Path, interval: f64) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env(fake_nvml::SCENARIO, self.scenario());
        command.args(["--listen", "127.0.0.1:0", "--interval", &interval.to_string()]);
        command.arg("--kubelet-root").arg(self.kubelet_root()).arg("--pod-logs").arg(self.path("logs"));
        command.arg("--proc").arg(self.path("proc"));
        command.arg("--nvml-library").arg(fake_nvml::library().unwrap());
        command
    }

    /// The command of the sidecar in this pod. It polls at this interval in seconds, and its container has this driver library.
    #[must_use]
    pub fn sidecar(&self, program: &Path, uid: &str, library: &Path, interval: f64) -> Command {
        let root = self.container(uid);
        let mount = root.join("var/run/secrets/kubernetes.io/serviceaccount");
        fs::create_dir_all(mount.parent().unwrap()).unwrap();
        fs::create_dir_all(root.join("dev")).unwrap();
        fs::write(root.join("dev/termination-log"), "").unwrap();
        symlink(self.volume(uid), mount).unwrap();
        let mut command = Command::new(program);
        command.env_clear().env(fake_nvml::SCENARIO, self.scenario()).env("VDI_METRICS_ROOT", root);
        command.env("VDI_METRICS_LISTEN", "127.0.0.1:0").env("VDI_METRICS_INTERVAL", interval.to_string());
        // The sockets are those of this machine, whatever the root.
        command.env("VDI_METRICS_NVML_LIBRARY", library).env("VDI_METRICS_PRESENCE", "off");
        command
    }

    /// The root of the container of the sidecar in this pod.
    #[must_use]
    pub fn container(&self, uid: &str) -> PathBuf {
        self.path("containers").join(uid)
    }

    /// The kubelet's folder.
    #[must_use]
    pub fn kubelet_root(&self) -> PathBuf {
        self.path("kubelet")
    }

    fn scenario(&self) -> PathBuf {
        self.path("scenario.json")
    }

    /// The path of a file or folder of the node.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
