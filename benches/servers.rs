//! The servers that are compared: the product as it is shipped, and the peers. Each logs to a file, as a container does.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Error, Result, ensure};
use kit::{desktop, exposition::Exposition, process::eventually, tempfile::TempDir, tls::Certificate};
use serde_json::{Value, json};
use vdi_metrics::contract;

use crate::client::{Client, request};

/// A server that answers reviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Product,
    KubeRs,
    ControllerRuntime,
    /// HTTP and TLS alone: this server allows every request without decoding it.
    Floor,
}

/// All servers, running. Only one of them gets requests at a time.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) all: Vec<Server>,
    pub(crate) certificate: Certificate,
    logs: TempDir,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    /// The address of the product's metrics.
    metrics: SocketAddr,
    child: Child,
}

/// Builds the peers. `make images` builds the product.
pub(crate) fn build() -> Result<()> {
    ensure!(product().exists(), "{} is missing: run `make images`", product().display());
    let manifest = peer("kube-rs/Cargo.toml");
    run(Command::new(env!("CARGO"))
        .args(["build", "--locked", "--release", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(built("")))?;
    // Stripped like the product, and without paths of this machine.
    run(Command::new("go")
        .arg("-C")
        .arg(peer("controller-runtime"))
        .args(["build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(built("controller-runtime"))
        .arg("."))
}

// === impl Kind ===

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Product, Self::KubeRs, Self::ControllerRuntime, Self::Floor];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Product => "vdi-metrics",
            Self::KubeRs => "kube-rs",
            Self::ControllerRuntime => "controller-runtime",
            Self::Floor => "HTTP and TLS alone",
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Product => product(),
            Self::KubeRs | Self::Floor => built("release/peer-kube-rs"),
            Self::ControllerRuntime => built("controller-runtime"),
        }
    }
}

// === impl Servers ===

impl Servers {
    /// Starts all servers, each with the command prefix `wrapper`, and checks that they change every pod alike. The product
    /// watches the cluster of `kubeconfig`, if there is one.
    pub(crate) fn start(wrapper: &[&str], kubeconfig: &Path) -> Result<Self> {
        let mut this = Self { all: vec![], certificate: Certificate::for_loopback()?, logs: TempDir::new()? };
        for kind in Kind::ALL {
            let server = this.spawn(kind, wrapper, kubeconfig)?;
            if kind == Kind::Product {
                fs::write(this.sidecar(), server.sidecar()?.to_string())?;
            }
            this.all.push(server);
        }
        this.check_agreement()?;
        Ok(this)
    }

    fn spawn(&self, kind: Kind, wrapper: &[&str], kubeconfig: &Path) -> Result<Server> {
        let (address, metrics) = (free_address()?, free_address()?);
        let (cert, key) = (self.certificate.cert(), self.certificate.key());
        let mut arguments = wrapper.iter().map(PathBuf::from).chain([kind.program()]);
        let mut command = Command::new(arguments.next().context("no program")?);
        command.args(arguments).env_clear();
        if kind == Kind::Product {
            command.env("KUBECONFIG", kubeconfig).args([
                "serve",
                "--lame-duck",
                "0",
                "--health-listen",
                "127.0.0.1:0",
                "--metrics-authentication",
                "none",
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

    /// The file with the product's additions to a pod.
    fn sidecar(&self) -> PathBuf {
        self.logs.path().join("sidecar.json")
    }

    /// The number of decisions in the product's metrics.
    pub(crate) fn decisions(&self) -> Result<f64> {
        let text = self.certificate.get(self.all[0].metrics, "/metrics")?.body;
        let exposition = Exposition::parse(&text).map_err(Error::msg)?;
        Ok(exposition.series("vdi_metrics_admission_decisions_total").map(|series| series.value).sum())
    }

    /// Checks that all servers change every pod alike, so that none is measured with less work.
    fn check_agreement(&self) -> Result<()> {
        for size in desktop::Size::ALL {
            let expected = comparable(self.all[0].patched(size)?);
            for server in self.all.iter().filter(|server| server.kind != Kind::Floor) {
                let (patched, name) = (comparable(server.patched(size)?), server.kind.as_str());
                let same = patched == expected;
                ensure!(
                    same,
                    "{name} changes the {} pod to {patched}, the product to {expected}",
                    size.as_str()
                );
            }
        }
        Ok(())
    }
}

/// Variables of the sidecar that depend on the pod. The peers copy the product's additions to one pod.
const OF_THE_POD: [&str; 2] = [contract::env::CONTAINERS, contract::env::GPU_REQUEST];

/// A patched pod without the values of [`OF_THE_POD`].
fn comparable(mut pod: Value) -> Value {
    let containers = pod["spec"]["initContainers"].as_array_mut().into_iter().flatten();
    let variables = containers.filter_map(|container| container["env"].as_array_mut()).flatten();
    variables
        .filter(|variable| OF_THE_POD.iter().any(|name| variable["name"] == *name))
        .for_each(|variable| variable["value"] = Value::Null);
    pod
}

// === impl Server ===

impl Server {
    /// The pod of a review after this server's changes.
    fn patched(&self, size: desktop::Size) -> Result<Value> {
        let review = desktop::review(size);
        let answer: Value = serde_json::from_slice(&self.client.connect()?.exchange(&request(&review))?)?;
        let mut pod = serde_json::from_slice::<Value>(&review)?["request"]["object"].take();
        if self.kind != Kind::Floor {
            json_patch::patch(&mut pod, &patch(&answer["response"]["patch"])?)?;
        }
        Ok(pod)
    }

    /// The product's additions, which the peers add too.
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

    /// CPU time of the server, in microseconds.
    pub(crate) fn cpu_us(&self) -> Result<f64> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(self.proc("task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(nanoseconds as f64 / 1000.0)
    }

    /// A size from `/proc/PID/status`, in MiB: `VmRSS` is the current size, `VmHWM` the peak.
    pub(crate) fn resident(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes =
            line.and_then(|line| line.split_whitespace().next()).context("no such line in the status")?;
        Ok(kibibytes.parse::<f64>()? / 1024.0)
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the program has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A patch as the API server accepts it. It is base64 text; kube's type serializes it as an array of numbers.
fn patch(value: &Value) -> Result<json_patch::Patch> {
    let bytes = match value {
        Value::String(text) => base64::Engine::decode(&base64::prelude::BASE64_STANDARD, text)?,
        _ => serde_json::from_value(value.clone()).context("the patch is neither text nor bytes")?,
    };
    Ok(serde_json::from_slice(&bytes)?)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// An address with a port that was free a moment ago. The peers cannot report which port they have chosen themselves.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

pub(crate) fn product() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/vdi-metrics")
}

fn peer(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peer").join(path)
}

fn built(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peer").join(path)
}
