//! The contenders: ours as it is shipped, and what else one would write, each with a log file as a container has.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Error, Result, ensure};
use kit::{desktop, exposition::Exposition, process::eventually, tempfile::TempDir, tls::Certificate};
use serde_json::{Value, json};

use crate::client::{Client, request};

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
    logs: TempDir,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    /// Where ours shows its metrics.
    metrics: SocketAddr,
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

    fn program(self) -> PathBuf {
        match self {
            Self::Ours => ours(),
            Self::KubeRs | Self::Floor => built("release/peer-kube-rs"),
            Self::ControllerRuntime => built("controller-runtime"),
        }
    }
}

// === impl Servers ===

impl Servers {
    /// Starts all, each behind the words of `wrapper`, and compares what they make of every pod. Ours watches the cluster
    /// of `kubeconfig`, if there is one.
    pub(crate) fn start(wrapper: &[&str], kubeconfig: &Path) -> Result<Self> {
        let mut this = Self { all: vec![], certificate: Certificate::for_loopback()?, logs: TempDir::new()? };
        for kind in Kind::ALL {
            let server = this.spawn(kind, wrapper, kubeconfig)?;
            if kind == Kind::Ours {
                fs::write(this.sidecar(), server.sidecar()?.to_string())?;
            }
            this.all.push(server);
        }
        this.agree()?;
        Ok(this)
    }

    fn spawn(&self, kind: Kind, wrapper: &[&str], kubeconfig: &Path) -> Result<Server> {
        let (address, metrics) = (free_address()?, free_address()?);
        let (cert, key) = (self.certificate.cert(), self.certificate.key());
        let mut words = wrapper.iter().map(PathBuf::from).chain([kind.program()]);
        let mut command = Command::new(words.next().context("no program")?);
        command.args(words).env_clear();
        if kind == Kind::Ours {
            command.env("KUBECONFIG", kubeconfig).args([
                "serve",
                "--lame-duck",
                "0",
                "--health-listen",
                "127.0.0.1:0",
            ]);
            command.args(["--listen", &address.to_string(), "--metrics-listen", &metrics.to_string()]);
            command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
        } else {
            command.arg(address.port().to_string()).arg(cert).arg(key);
            command.arg(if kind == Kind::Floor { "floor".into() } else { self.sidecar() });
        }
        let log = File::create(self.logs.path().join(kind.as_str()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let server =
            Server { kind, client: Client::new(&self.certificate, address)?, address, metrics, child };
        eventually(kind.as_str(), || server.patched(desktop::Size::Medium).ok());
        Ok(server)
    }

    /// The file with what ours adds.
    fn sidecar(&self) -> PathBuf {
        self.logs.path().join("sidecar.json")
    }

    /// Decisions that ours has counted.
    pub(crate) fn decisions(&self) -> Result<f64> {
        let shown = self.certificate.get(self.all[0].metrics, "/metrics")?.body;
        let shown = Exposition::parse(&shown).map_err(Error::msg)?;
        Ok(shown.series("vdi_metrics_admission_decisions_total").map(|series| series.value).sum())
    }

    /// Checks that all make the same of every pod, so that nobody is measured at less work.
    fn agree(&self) -> Result<()> {
        for size in desktop::Size::ALL {
            let expected = self.all[0].patched(size)?;
            for server in self.all.iter().filter(|server| server.kind != Kind::Floor) {
                let (patched, name) = (server.patched(size)?, server.kind.as_str());
                let same = patched == expected;
                ensure!(same, "{name} makes {patched} of the {} pod, and ours {expected}", size.as_str());
            }
        }
        Ok(())
    }
}

// === impl Server ===

impl Server {
    /// The pod of a review as this server makes it.
    fn patched(&self, size: desktop::Size) -> Result<Value> {
        let review = desktop::review(size);
        let answer: Value = serde_json::from_slice(&self.client.connect()?.exchange(&request(&review))?)?;
        let mut pod = serde_json::from_slice::<Value>(&review)?["request"]["object"].take();
        if self.kind != Kind::Floor {
            json_patch::patch(&mut pod, &patch(&answer["response"]["patch"])?)?;
        }
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

/// A port nobody listened on a moment ago: the peers have no way to say which they found.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

pub(crate) fn ours() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/vdi-metrics")
}

fn peer(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peer").join(path)
}

fn built(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peer").join(path)
}
