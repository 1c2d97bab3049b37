//! The product as it is installed: images from the shipped file lists, the manifests exactly as they are, a certificate
//! by the shipped script. Once per run; tests share it, and the one that breaks it has it alone.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fake_nvml::{Device, Memory, Scenario, Utilization};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kit::{
    cluster::{Bed, Image, eventually},
    shipped,
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use vdi_metrics::contract::key;

pub(crate) const NAMESPACE: &str = "vdi-metrics";
pub(crate) const DEPLOYMENT: &str = "vdi-metrics-webhook";

/// A desktop that ends as it is told: `exit CODE SECONDS` or `sleep`.
pub(crate) const DESKTOP: &str = "desktop.test/desktop:1";

/// The sidecar's image as it is shipped, with nothing of a GPU: for desktops to which the node gives one.
pub(crate) const SIDECAR_ALONE: &str = "vdi-metrics/sidecar:alone";

/// What the fake GPU of every other sidecar shows.
pub(crate) const GPU: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
pub(crate) const UTILIZATION: f64 = 0.37;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const TWO_MINUTES: Duration = Duration::from_secs(120);

static INSTALLED: OnceCell<()> = OnceCell::const_new();
static ALIVE: LazyLock<RwLock<()>> = LazyLock::new(RwLock::default);

/// The product, installed and alive while the guard is held.
pub(crate) async fn installed(bed: &Bed) -> Result<RwLockReadGuard<'static, ()>> {
    bed.look_into(NAMESPACE);
    INSTALLED.get_or_try_init(|| install(bed)).await?;
    Ok(ALIVE.read().await)
}

/// The product, installed, for one test alone; it leaves it alive again.
pub(crate) async fn installed_alone(bed: &Bed) -> Result<RwLockWriteGuard<'static, ()>> {
    bed.look_into(NAMESPACE);
    INSTALLED.get_or_try_init(|| install(bed)).await?;
    Ok(ALIVE.write().await)
}

/// A namespace as a user opts one in: the label, and what the shipped base brings for it.
pub(crate) async fn session_namespace(bed: &Bed) -> Result<String> {
    let namespace = bed
        .scratch_namespace(&[
            (key::INJECT, key::ENABLED),
            ("pod-security.kubernetes.io/enforce", "restricted"),
        ])
        .await?;
    let base = root().join("manifests/session-namespace");
    bed.kubectl.run(&["apply", "--namespace", &namespace, "--kustomize", &base.display().to_string()])?;
    Ok(namespace)
}

pub(crate) fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// A desktop pod; the test changes what it is about.
pub(crate) fn desktop(arguments: &[&str]) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "desktop", "labels": {"vdi-metrics.io/session": "alice-1", "vdi-metrics.io/template": "cad"}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "desktop",
                "image": DESKTOP,
                "args": arguments,
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

/// A Deployment of desktops.
pub(crate) fn deployment(namespace: &str, replicas: u8) -> serde_json::Value {
    let mut template = desktop(&["sleep"]);
    template["spec"]["restartPolicy"] = json!("Always");
    template["metadata"]["labels"]["app"] = json!("desktops");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "desktops", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "desktops"}},
            "template": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]},
        },
    })
}

pub(crate) fn pods(bed: &Bed, namespace: &str) -> Api<Pod> {
    Api::namespaced(bed.client.clone(), namespace)
}

/// Creates a pod and gives it back as the API server took it.
pub(crate) async fn create(bed: &Bed, namespace: &str, pod: serde_json::Value) -> Result<Pod> {
    Ok(pods(bed, namespace).create(&PostParams::default(), &serde_json::from_value(pod)?).await?)
}

/// A program of ours on the node, seen from outside its container.
pub(crate) struct Process {
    id: String,
}

/// Every process of a program, by its first argument's file name.
pub(crate) fn processes(program: &str) -> Result<Vec<Process>> {
    let runs = |entry: &fs::DirEntry| {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).next() == Some(format!("/{program}").as_bytes())
    };
    let found = fs::read_dir("/proc")?.filter_map(Result::ok).filter(runs);
    Ok(found.map(|entry| Process { id: entry.file_name().to_string_lossy().into_owned() }).collect())
}

/// Stops the server in its tracks, as a node under pressure does: connections are accepted by the kernel, and nobody
/// answers. It goes on when the value is dropped.
pub(crate) fn pause_the_server() -> Result<Paused> {
    let server = processes("vdi-metrics")?.pop().context("no server runs on the node")?;
    server.signal("STOP")?;
    Ok(Paused(server))
}

/// See [`pause_the_server`].
pub(crate) struct Paused(Process);

/// Sets the number of servers and waits until they are there, and no other.
pub(crate) async fn scale(bed: &Bed, replicas: i32) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(bed.client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch(DEPLOYMENT, &PatchParams::default(), &patch).await?;
    if replicas > 0 {
        return serving(bed).await;
    }
    let pods = Api::<Pod>::namespaced(bed.client.clone(), NAMESPACE);
    eventually("the servers are gone", MINUTE, || async {
        let left = pods.list(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await
}

/// Waits until the server is Ready and the API server's way to it is open.
async fn serving(bed: &Bed) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(bed.client.clone(), NAMESPACE);
    eventually("the server is ready", TWO_MINUTES, || async {
        let status = deployments.get(DEPLOYMENT).await?.status.unwrap_or_default();
        ensure!(status.ready_replicas == Some(1) && status.replicas == Some(1), "{status:?}");
        Ok(())
    })
    .await?;
    // The API server learns of endpoints on a watch of its own.
    let namespace = bed.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let pods = Api::<Pod>::namespaced(bed.client.clone(), &namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let pod: Pod = serde_json::from_value(desktop(&["sleep"]))?;
    eventually("the API server calls the webhook", MINUTE, || async {
        let pod = pods.create(&dry_run, &pod).await?;
        ensure!(pod.annotations().contains_key(key::STATUS), "not asked");
        Ok(())
    })
    .await
}

/// What this machine lacks to install the product, in one sentence.
pub(crate) fn lacking() -> Option<String> {
    let tools = [("make", "make"), ("openssl", "openssl"), ("readelf", "binutils")];
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    let (tool, package) = tools.into_iter().find(|(tool, _)| !has(tool))?;
    Some(format!("installing the product needs {tool} (Debian: apt-get install {package})"))
}

/// Builds both programs as they are shipped.
pub(crate) fn build() -> Result<()> {
    let mut make = Command::new("make");
    make.arg("images").current_dir(root());
    // What cargo tells a program that it runs is news to ring's build script, and all that needs ring would be built anew.
    for (name, _) in env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|told| name.to_string_lossy().starts_with(told)) {
            make.env_remove(name);
        }
    }
    let status = make.status().context("running make images")?;
    ensure!(status.success(), "make images failed; its messages are above");
    Ok(())
}

async fn install(bed: &Bed) -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let sidecar = shipped::sidecar(folder)?;
    bed.load_image(&shipped::probe(DESKTOP, "/desktop"))?;
    bed.load_image(&shipped::server(folder)?)?;
    bed.load_image(&Image { name: SIDECAR_ALONE.into(), ..sidecar.clone() })?;
    bed.load_image(&shipped::with_gpus(sidecar, &one_gpu(), folder)?)?;
    bed.kubectl.run(&["apply", "--kustomize", &root().join("manifests").display().to_string()])?;
    let script = root().join("certs/self-signed.sh");
    let output = Command::new(&script).env("KUBECTL", bed.kubectl.command_line()).output();
    let output = output.with_context(|| format!("running {}", script.display()))?;
    ensure!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    serving(bed).await
}

fn one_gpu() -> Scenario {
    let device = Device {
        uuid: Some(GPU.into()),
        name: Some("NVIDIA L40S".into()),
        utilization: Some(Utilization { gpu: (UTILIZATION * 100.0) as u32, memory: 12 }),
        memory: Some(Memory { total: 48 << 30, reserved: 1 << 29, used: 6 << 30 }),
        encoder_percent: Some(12),
        decoder_percent: Some(3),
        encoding: Some([1, 60, 4200]),
        codecs: Some(vec![2]),
        capturing: Some([1, 60, 1200]),
        energy_millijoules: Some(987_654_321),
        power_milliwatts: Some(123_400),
        temperature_celsius: Some(61),
        sm_megahertz: Some(2520),
        memory_megahertz: Some(9001),
        throttle_reasons: Some(0),
        ..Device::default()
    };
    Scenario { driver_version: Some("580.95.05".into()), devices: vec![device], ..Scenario::default() }
}

// === impl Process ===

impl Process {
    /// Resident size in MiB.
    pub(crate) fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes / 1024.0)
    }

    /// Whether it runs in the pod with this UID, by its control group.
    pub(crate) fn is_of(&self, uid: &str) -> bool {
        fs::read_to_string(format!("/proc/{}/cgroup", self.id)).is_ok_and(|groups| groups.contains(uid))
    }

    /// A path of its container, as seen from here.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root{path}", self.id).into()
    }

    /// A variable of its environment.
    pub(crate) fn variable(&self, name: &str) -> Result<Option<String>> {
        let environment = fs::read(format!("/proc/{}/environ", self.id))?;
        let mut entries = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        Ok(entries.find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_owned())))
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
        // It fails only where the process is gone.
        let _ = self.0.signal("CONT");
    }
}
