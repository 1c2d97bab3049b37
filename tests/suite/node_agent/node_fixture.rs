//! A node in a temporary folder: the kubelet's volumes of session pods, and processes in cgroups of pods.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use fake_nvml::Scenario;
use kit::{
    exposition::Exposition,
    http,
    process::{Process, eventually},
};
use vdi_metrics::contract::{ANNOTATIONS, METRICS_PATH, VOLUME_PATH, env};

/// A node without its agent.
pub(super) struct Node {
    folder: kit::tempfile::TempDir,
}

/// PID of the agent.
const AGENT: u32 = 99;

/// A running agent.
pub(super) struct Agent {
    process: Process,
    address: SocketAddr,
}

/// A running sidecar.
pub(super) struct Sidecar {
    root: PathBuf,
    process: Process,
    address: SocketAddr,
}

/// The name of the session pod with this UID, in the namespace `desktops`.
pub(super) fn pod_name(uid: &str) -> String {
    format!("desktop-{}", &uid[..8])
}

impl Node {
    /// A node with one process outside of all pods: the agent.
    pub(super) fn new(scenario: &Scenario) -> Self {
        let node = Self { folder: kit::tempfile::tempdir().unwrap() };
        node.add_process(AGENT, "/system.slice/agent.service");
        node.set_agent(AGENT);
        ["kubelet/pods", "logs"]
            .into_iter()
            .for_each(|folder| fs::create_dir_all(node.path(folder)).unwrap());
        node.play(scenario);
        node
    }

    /// Sets which process the agent is.
    pub(super) fn set_agent(&self, pid: u32) {
        let link = self.path("proc/self");
        let _ = fs::remove_file(&link);
        symlink(pid.to_string(), link).unwrap();
    }

    pub(super) fn play(&self, scenario: &Scenario) {
        scenario.write(&self.path("scenario.json")).unwrap();
    }

    /// Adds a process in this cgroup that started when the node started.
    pub(super) fn add_process(&self, pid: u32, cgroup: &str) {
        let folder = self.path("proc").join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        let stat = format!("{pid} (program) S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0\n");
        fs::write(folder.join("stat"), stat).unwrap();
    }

    /// Adds a process in a pod.
    pub(super) fn add_process_of_pod(&self, uid: &str, pid: u32) {
        self.add_process(pid, &format!("/kubepods/burstable/pod{uid}/{}", "a".repeat(64)));
    }

    /// Adds a session pod with one process: its volume as the kubelet writes it, and the process in the pod's cgroup.
    pub(super) fn add_session(&self, uid: &str, pid: u32) {
        let volume = self.volume(uid);
        fs::create_dir_all(volume.join("..2026")).unwrap();
        symlink("..2026", volume.join("..data")).unwrap();
        fs::write(volume.join("..2026").join(ANNOTATIONS), "").unwrap();
        symlink(Path::new("..data").join(ANNOTATIONS), volume.join(ANNOTATIONS)).unwrap();
        fs::create_dir_all(self.logs(uid, &pod_name(uid))).unwrap();
        self.add_process_of_pod(uid, pid);
    }

    /// Gives a session pod another name.
    pub(super) fn rename(&self, uid: &str, name: &str) {
        fs::rename(self.logs(uid, &pod_name(uid)), self.logs(uid, name)).unwrap();
    }

    /// The kubelet's folder with the logs of this pod.
    fn logs(&self, uid: &str, name: &str) -> PathBuf {
        self.path("logs").join(format!("desktops_{name}_{uid}"))
    }

    /// The volume of the sidecar in this pod.
    pub(super) fn volume(&self, uid: &str) -> PathBuf {
        self.path("kubelet/pods").join(uid).join("volumes/kubernetes.io~projected/vdi-metrics")
    }

    pub(super) fn start_agent(&self) -> Agent {
        self.start_agent_at("0.3")
    }

    /// An agent with this interval in seconds.
    pub(super) fn start_agent_at(&self, interval: &str) -> Agent {
        self.start_agent_with(&["--interval", interval])
    }

    pub(super) fn start_agent_with(&self, options: &[&str]) -> Agent {
        let process = Process::spawn(
            Command::new(env!("CARGO_BIN_EXE_vdi-metrics-node"))
                .env_clear()
                .env(fake_nvml::SCENARIO, self.path("scenario.json"))
                .args(["--listen", "127.0.0.1:0"])
                .args(options)
                .arg("--kubelet-root")
                .arg(self.path("kubelet"))
                .arg("--pod-logs")
                .arg(self.path("logs"))
                .arg("--proc")
                .arg(self.path("proc"))
                .arg("--nvml-library")
                .arg(fake_nvml::library().unwrap()),
        );
        Agent { address: process.address(), process }
    }

    /// Replaces the pod's annotations, in the format of the downward API.
    pub(super) fn annotate(&self, uid: &str, annotations: &str) {
        fs::write(self.volume(uid).join("..2026").join(ANNOTATIONS), annotations).unwrap();
    }

    /// A sidecar whose container has no driver.
    pub(super) fn start_sidecar(&self, uid: &str) -> Sidecar {
        self.start_sidecar_with(uid, Path::new("/nonexistent/libnvidia-ml.so.1"))
    }

    /// A sidecar whose container has the driver of the node.
    pub(super) fn start_sidecar_with_driver(&self, uid: &str) -> Sidecar {
        self.start_sidecar_with(uid, &fake_nvml::library().unwrap())
    }

    fn start_sidecar_with(&self, uid: &str, library: &Path) -> Sidecar {
        let root = self.path("containers").join(uid);
        let volume = root.join(VOLUME_PATH.trim_start_matches('/'));
        fs::create_dir_all(volume.parent().unwrap()).unwrap();
        fs::create_dir_all(root.join("dev")).unwrap();
        fs::write(root.join("dev/termination-log"), "").unwrap();
        symlink(self.volume(uid), volume).unwrap();
        let process = Process::spawn(
            Command::new(env!("CARGO_BIN_EXE_vdi-metrics-sidecar"))
                .env_clear()
                .env(env::LISTEN, "127.0.0.1:0")
                .env(env::INTERVAL, "0.3")
                .env(env::NVML_LIBRARY, library)
                .env(fake_nvml::SCENARIO, self.path("scenario.json"))
                .env(env::ROOT, &root),
        );
        Sidecar { address: process.address(), process, root }
    }

    pub(super) fn kubelet_root(&self) -> PathBuf {
        self.path("kubelet")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(Path::new(name))
    }
}

impl Agent {
    /// The readiness: status and text.
    pub(super) fn readiness(&self) -> (u16, String) {
        let response = http::get(self.address, "/readyz").unwrap();
        (response.status, response.body)
    }

    /// The first line of the log that contains `text`.
    pub(super) fn logged(&self, text: &str) -> String {
        self.process.logged(text)
    }

    pub(super) fn scrape_until(&self, what: &str, probe: impl Fn(&Exposition) -> bool) -> Exposition {
        eventually(what, || Some(scrape(self.address)).filter(&probe))
    }
}

impl Sidecar {
    /// Ends the session. Returns the termination message.
    pub(super) fn end(self) -> serde_json::Value {
        self.process.terminate();
        serde_json::from_str(&fs::read_to_string(self.root.join("dev/termination-log")).unwrap()).unwrap()
    }

    pub(super) fn scrape_until(&self, what: &str, probe: impl Fn(&Exposition) -> bool) -> Exposition {
        assert!(self.process.address() == self.address, "the sidecar was restarted");
        eventually(what, || Some(scrape(self.address)).filter(&probe))
    }
}

fn scrape(address: SocketAddr) -> Exposition {
    let response = http::get(address, METRICS_PATH).unwrap();
    assert_eq!(response.status, 200);
    Exposition::parse(&response.body).unwrap()
}
