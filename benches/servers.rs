//! The contenders: ours as it is shipped, and what else one would write, each with a log file as a container has.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use kit::{desktop, process::eventually, tempfile::TempDir, tls::Certificate};
use serde_json::{Value, json};

use crate::client::{Client, Connection, request};

/// Who answers reviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    KubeRs,
    ControllerRuntime,
    /// HTTP and TLS alone: allows everything unread.
    Floor,
}

/// All contenders, running, idle but for who is asked.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) all: Vec<Server>,
    pub(crate) certificate: Certificate,
    _logs: TempDir,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    child: Child,
}

/// Builds the peers. Ours is built by `make images`.
pub(crate) fn build() -> Result<()> {
    ensure!(ours().exists(), "{} is not there: run `make images`", ours().display());
    let manifest = peer("kube-rs/Cargo.toml");
    run(Command::new(env!("CARGO"))
        .args(["build", "--locked", "--release", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(built("")))?;
    // Stripped as ours is; with the paths of no machine in it.
    run(Command::new("go")
        .arg("-C")
        .arg(peer("controller-runtime"))
        .args(["build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(built("controller-runtime"))
        .arg("."))
}

// === impl Kind ===

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Ours, Self::KubeRs, Self::ControllerRuntime, Self::Floor];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "vdi-metrics",
            Self::KubeRs => "kube-rs",
            Self::ControllerRuntime => "controller-runtime",
            Self::Floor => "HTTP and TLS alone",
        }
    }

    /// The program with its arguments, behind `wrapper`, which becomes it.
    fn command(self, wrapper: &[&str], port: u16, certificate: &Certificate, sidecar: &Path) -> Command {
        let program = match self {
            Self::Ours => ours(),
            Self::KubeRs | Self::Floor => built("release/peer-kube-rs"),
            Self::ControllerRuntime => built("controller-runtime"),
        };
        let mut words = wrapper.iter().map(PathBuf::from).chain([program]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_clear();
        if self == Self::Ours {
            // Watching a cluster is no part of the comparison.
            command.env("KUBECONFIG", "/nonexistent").arg("serve");
            command.arg("--tls-cert").arg(certificate.cert()).arg("--tls-key").arg(certificate.key());
            command.args(["--listen", &format!("127.0.0.1:{port}"), "--lame-duck", "0"]);
            return {
                command.args(["--metrics-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"]);
                command
            };
        }
        command.arg(port.to_string()).arg(certificate.cert()).arg(certificate.key());
        command.arg(if self == Self::Floor { Path::new("floor") } else { sidecar });
        command
    }
}

// === impl Servers ===

impl Servers {
    /// Starts all, each behind `wrapper`, and compares what they make of a pod.
    pub(crate) fn start(wrapper: &[&str]) -> Result<Self> {
        let (certificate, logs) = (Certificate::for_loopback()?, TempDir::new()?);
        let sidecar = logs.path().join("sidecar.json");
        let mut all = vec![];
        for kind in Kind::ALL {
            all.push(Server::start(kind, wrapper, &certificate, &sidecar, logs.path())?);
            if kind == Kind::Ours {
                fs::write(&sidecar, all[0].sidecar()?.to_string())?;
            }
        }
        let this = Self { all, certificate, _logs: logs };
        this.agree()?;
        Ok(this)
    }

    /// Checks that all make the same of every pod, so that nobody is measured at less work.
    fn agree(&self) -> Result<()> {
        for size in desktop::Size::ALL {
            let expected = self.all[0].patched(size)?;
            for server in self.all.iter().filter(|server| server.kind != Kind::Floor) {
                let patched = server.patched(size)?;
                ensure!(patched == expected, "{}: {patched}\ninstead of {expected}", server.kind.as_str());
            }
        }
        Ok(())
    }
}

// === impl Server ===

impl Server {
    fn start(
        kind: Kind,
        wrapper: &[&str],
        certificate: &Certificate,
        sidecar: &Path,
        logs: &Path,
    ) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let client = Client::new(certificate, address)?;
        let log = File::create(logs.join(kind.as_str()))?;
        let mut command = kind.command(wrapper, address.port(), certificate, sidecar);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let this = Self { kind, client, address, child };
        eventually(kind.as_str(), || this.client.connect().and_then(|mut c| this.review(&mut c)).ok());
        Ok(this)
    }

    fn review(&self, connection: &mut Connection) -> Result<Value> {
        let answer = connection.exchange(&request(&desktop::review(desktop::Size::Medium)))?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// The pod of a review as this server makes it.
    fn patched(&self, size: desktop::Size) -> Result<Value> {
        let review = desktop::review(size);
        let answer: Value = serde_json::from_slice(&self.client.connect()?.exchange(&request(&review))?)?;
        let mut pod = serde_json::from_slice::<Value>(&review)?["request"]["object"].take();
        json_patch::patch(&mut pod, &patch(&answer["response"]["patch"])?)?;
        Ok(pod)
    }

    /// What ours adds, for the peers to add the same.
    fn sidecar(&self) -> Result<Value> {
        let after = self.patched(desktop::Size::Small)?;
        let review: Value = serde_json::from_slice(&desktop::review(desktop::Size::Small))?;
        let before = &review["request"]["object"];
        let added = |name: &str| -> Value {
            let new = after["metadata"][name].as_object().into_iter().flatten();
            new.filter(|(key, _)| before["metadata"][name].get(key).is_none())
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        Ok(json!({"labels": added("labels"), "annotations": added("annotations"),
            "container": after["spec"]["initContainers"][0], "volume": after["spec"]["volumes"][0]}))
    }

    /// Processor time that it has used, in microseconds.
    pub(crate) fn processor(&self) -> Result<f64> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(self.proc("task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(nanoseconds as f64 / 1000.0)
    }

    /// A size from `/proc/PID/status`, in MiB: `VmRSS` for now, `VmHWM` for the most it ever was.
    pub(crate) fn resident(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()).context("no such size")?;
        Ok(kibibytes.parse::<f64>()? / 1024.0)
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A patch as API servers take it: base64 text, which kube's type spells as an array of numbers.
fn patch(value: &Value) -> Result<json_patch::Patch> {
    let bytes = match value {
        Value::String(text) => base64::Engine::decode(&base64::prelude::BASE64_STANDARD, text)?,
        _ => serde_json::from_value(value.clone()).context("neither text nor bytes")?,
    };
    Ok(serde_json::from_slice(&bytes)?)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn ours() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/vdi-metrics")
}

fn peer(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peer").join(path)
}

fn built(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peer").join(path)
}
