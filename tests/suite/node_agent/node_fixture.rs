//! A node with an agent and sidecars.

use std::{
    fs,
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
};

use fake_nvml::{Device, Scenario};
use kit::{
    exposition::Exposition,
    http,
    node_folder::NodeFolder,
    process::{Process, eventually},
};
use vdi_metrics::contract::METRICS_PATH;

pub(super) use kit::node_folder::pod_name;

/// A node without its agent.
pub(super) struct Node(NodeFolder);

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

/// Seconds between two polls of the agent.
const INTERVAL: f64 = 0.3;

/// Seconds between two polls of a sidecar. A new report wakes it before.
const SIDECAR_INTERVAL: f64 = 2.0 * INTERVAL;

/// A driver that shows these cards.
pub(super) fn driver_with(devices: Vec<Device>) -> Scenario {
    Scenario {
        driver_version: Some("580.95.05".into()),
        nvml_version: Some("13.580.95.05".into()),
        devices,
        ..Scenario::default()
    }
}

impl Deref for Node {
    type Target = NodeFolder;

    fn deref(&self) -> &NodeFolder {
        &self.0
    }
}

impl Node {
    /// A node with one process outside of all pods: the agent.
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self(NodeFolder::new(scenario))
    }

    pub(super) fn start_agent(&self) -> Agent {
        self.start_agent_with(INTERVAL, &[])
    }

    /// An agent with this interval in seconds and these options.
    pub(super) fn start_agent_with(&self, interval: f64, options: &[&str]) -> Agent {
        let program = Path::new(env!("CARGO_BIN_EXE_vdi-metrics-node"));
        let process = Process::spawn(self.agent(program, interval).args(options));
        Agent { address: process.address(), process }
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
        let program = Path::new(env!("CARGO_BIN_EXE_vdi-metrics-sidecar"));
        let process = Process::spawn(&mut self.sidecar(program, uid, library, SIDECAR_INTERVAL));
        Sidecar { address: process.address(), process, root: self.container(uid) }
    }
}

impl Agent {
    /// The resident size in MiB.
    pub(super) fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    /// The CPU time since the start, in seconds of a core.
    pub(super) fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The name of the program is in parentheses and can contain spaces.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / TICKS_PER_SECOND
    }

    /// The readiness: status and text.
    pub(super) fn readiness(&self) -> (u16, String) {
        let response = http::get(self.address, "/readyz").unwrap();
        (response.status, response.body)
    }

    /// The first line of the log that contains `text`.
    pub(super) fn logged(&self, text: &str) -> String {
        self.process.logged(text)
    }

    /// The log so far.
    pub(super) fn log(&self) -> String {
        self.process.log()
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

/// The unit of times in `/proc/PID/stat`, on every architecture of Linux.
const TICKS_PER_SECOND: f64 = 100.0;
