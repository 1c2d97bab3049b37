//! Processes of the node, seen from outside their containers.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::Cluster;
use kube::ResourceExt;

/// The programs in the two containers of a session pod.
pub(crate) const DESKTOP: &str = "desktop";
pub(crate) const SIDECAR: &str = "vdi-metrics-sidecar";

/// A process of a container on the node.
pub(crate) struct NodeProcess {
    id: String,
}

/// A stopped process. It continues when this value is dropped.
pub(crate) struct Paused(NodeProcess);

/// All processes of a program, by the file name in their first argument.
pub(crate) fn processes(program: &str) -> Result<Vec<NodeProcess>> {
    let runs = |entry: &fs::DirEntry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).next() == Some(format!("/{program}").as_bytes())
    };
    let processes = fs::read_dir("/proc")?.filter_map(Result::ok).filter(runs);
    Ok(processes.map(|entry| NodeProcess { id: entry.file_name().to_string_lossy().into_owned() }).collect())
}

/// The process of a program in this pod.
pub(crate) fn process(pod: &Pod, program: &str) -> Result<NodeProcess> {
    let uid = pod.uid().context("no uid")?;
    let process = processes(program)?.into_iter().find(|process| process.is_of(&uid));
    process.with_context(|| format!("no {program} runs in {}", pod.name_any()))
}

/// The API server of a cluster. It runs on this machine and not in a container.
pub(crate) fn api_server(cluster: &Cluster) -> Result<NodeProcess> {
    let folder = cluster.folder().display().to_string();
    let is_of_cluster = |entry: &fs::DirEntry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments);
        let program = arguments.split('\0').next().unwrap_or_default();
        program.ends_with("/kube-apiserver") && arguments.contains(&folder)
    };
    let process = fs::read_dir("/proc")?.filter_map(Result::ok).find(is_of_cluster);
    let id = process.context("no API server runs")?.file_name().to_string_lossy().into_owned();
    Ok(NodeProcess { id })
}

/// Stops the process of each server, as on a node under pressure: the kernel accepts connections, and the server does not answer.
pub(crate) fn pause_the_servers() -> Result<Vec<Paused>> {
    let servers = processes("vdi-metrics")?;
    ensure!(!servers.is_empty(), "no server runs on the node");
    servers.into_iter().map(NodeProcess::pause).collect()
}

// === impl NodeProcess ===

impl NodeProcess {
    /// The process with this ID.
    pub(crate) fn with_id(id: u32) -> Self {
        Self { id: id.to_string() }
    }

    /// The process ID on the node.
    pub(crate) fn id(&self) -> Result<u32> {
        Ok(self.id.parse()?)
    }

    /// Resident size in MiB.
    pub(crate) fn resident(&self) -> Result<f64> {
        let kibibytes: f64 = self.status("VmRSS")?.trim_end_matches(" kB").parse()?;
        Ok(kibibytes / 1024.0)
    }

    /// A field of the process' file `status`.
    pub(crate) fn status(&self, field: &str) -> Result<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let value = lines.find_map(|(name, value)| (name == field).then(|| value.trim().to_owned()));
        value.with_context(|| format!("no {field}"))
    }

    /// Whether the process runs in the pod with this UID, by its control group.
    pub(crate) fn is_of(&self, uid: &str) -> bool {
        fs::read_to_string(format!("/proc/{}/cgroup", self.id)).is_ok_and(|groups| groups.contains(uid))
    }

    /// The path on the node of a path in the container.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root{path}", self.id).into()
    }

    /// A variable of the process' environment.
    pub(crate) fn variable(&self, name: &str) -> Result<Option<String>> {
        let environment = fs::read(format!("/proc/{}/environ", self.id))?;
        let mut entries = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        Ok(entries.find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_owned())))
    }

    /// Stops the process until the returned value is dropped.
    pub(crate) fn pause(self) -> Result<Paused> {
        self.signal("STOP")?;
        Ok(Paused(self))
    }

    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let sent = Command::new("kill").args(["-s", signal, &self.id]).status()?;
        ensure!(sent.success(), "kill -s {signal} {}", self.id);
        Ok(())
    }
}

// === impl Paused ===

impl Drop for Paused {
    fn drop(&mut self) {
        // The signal fails only if the process has ended.
        let _ = self.0.signal("CONT");
    }
}
