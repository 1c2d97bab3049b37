//! containerd and a kubelet: one node. Needs root and the namespaces of [`super::isolated`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use serde_json::json;

use super::Cluster;
use super::assets::Assets;
use super::devices::Devices;
use super::image::{File, Image};
use super::namespaces::{BRIDGE, NODE_ADDRESS};
use super::process::{Server, bound_to_us, output};

/// The running node.
pub(super) struct Node {
    _devices: Devices,
    _kubelet: Server,
    containerd: Containerd,
}

/// containerd, which can run before there is an API server.
pub(super) struct Containerd {
    _server: Server,
    ctr: PathBuf,
    dir: PathBuf,
    /// Two imports of one image at the same time fail: each finds the other's.
    importing: Mutex<()>,
}

// === impl Node ===

impl Node {
    /// Starts the kubelet on a running containerd; the node is Ready, takes pods and has devices.
    pub(super) async fn start(assets: &Assets, cluster: &Cluster, containerd: Containerd) -> Result<Self> {
        let config = cluster.dir.join("kubelet.json");
        fs::write(&config, kubelet_config(cluster).to_string())?;
        let mut command = bound_to_us(&assets.binary("kubelet"));
        command.args([
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", cluster.access.kubeconfig("node").display()),
            format!("--hostname-override={NAME}"),
            format!("--node-ip={NODE_ADDRESS}"),
        ]);
        let kubelet = Server::start("kubelet", command, &cluster.logs())?;
        let nodes = Api::<NodeObject>::all(cluster.client.clone());
        kubelet.ready(LIMIT, || ready(&nodes)).await?;
        let devices = Devices::start(assets, cluster).await?;
        Ok(Self { _devices: devices, _kubelet: kubelet, containerd })
    }

    /// Makes the image known to this node.
    pub(super) fn load_image(&self, image: &Image) -> Result<()> {
        self.containerd.load_image(image)
    }
}

// === impl Containerd ===

impl Containerd {
    /// Starts containerd with the image that holds a pod's namespaces.
    pub(super) async fn start(assets: &Assets, dir: &Path) -> Result<Self> {
        fs::create_dir_all("/etc/cni/net.d")?;
        fs::write("/etc/cni/net.d/bed.conflist", network().to_string())?;
        let config = dir.join("containerd.toml");
        fs::write(&config, containerd_config(assets, dir))?;
        let mut command = bound_to_us(&assets.binary("containerd"));
        // It looks for its shim and for runc there.
        let path = std::env::join_paths(
            std::iter::once(assets.bin().to_owned())
                .chain(std::env::var_os("PATH").iter().flat_map(std::env::split_paths)),
        )?;
        command.arg("--config").arg(config).env("PATH", path);
        let server = Server::start("containerd", command, &dir.join("log"))?;
        let this = Self {
            _server: server,
            ctr: assets.binary("ctr"),
            dir: dir.to_owned(),
            importing: Mutex::new(()),
        };
        this._server.ready(LIMIT, || async { output(this.ctr().arg("version")) }).await?;
        this.load_image(&Image {
            name: PAUSE.to_owned(),
            files: vec![File { at: "/pause".into(), from: assets.binary("pause"), mode: 0o755 }],
            entrypoint: vec!["/pause".to_owned()],
            user: 65535,
            env: Vec::new(),
        })?;
        Ok(this)
    }

    fn load_image(&self, image: &Image) -> Result<()> {
        let _alone = self.importing.lock().unwrap_or_else(PoisonError::into_inner);
        let archive = tempfile::NamedTempFile::new_in(&self.dir)?;
        image.write_archive(archive.path())?;
        output(self.ctr().args(["--namespace=k8s.io", "images", "import", "--local"]).arg(archive.path()))
            .map(drop)
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new(&self.ctr);
        command.arg(format!("--address={SOCKET}"));
        command
    }
}

async fn ready(nodes: &Api<NodeObject>) -> Result<()> {
    let node = nodes.get(NAME).await?;
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    ensure!(ready.is_some_and(|ready| ready.status == "True"), "{ready:?}");
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    ensure!(taints.is_empty(), "{taints:?}");
    Ok(())
}

fn network() -> serde_json::Value {
    json!({"cniVersion": "1.0.0", "name": "bed", "plugins": [{
        "type": "bridge", "bridge": BRIDGE, "isGateway": true, "ipMasq": false, "hairpinMode": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }]})
}

fn containerd_config(assets: &Assets, dir: &Path) -> String {
    let (state, bin) = (dir.join("state").display().to_string(), assets.bin().display().to_string());
    // The right to lower an oom score is one that containers of build machines lack.
    format!(
        r#"
version = 3
root = "{state}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
address = "{SOCKET}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
cdi_spec_dirs = ["{CDI}"]
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{bin}"]
conf_dir = "/etc/cni/net.d"
"#
    )
}

fn kubelet_config(cluster: &Cluster) -> serde_json::Value {
    let name = cluster.dir.file_name().unwrap_or_default().to_string_lossy();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true},
            "x509": {"clientCAFile": cluster.access.file("ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{name}"),
        "failCgroupV1": false, "failSwapOn": false,
        "enforceNodeAllocatable": [], "localStorageCapacityIsolation": false,
        // A full disk of the machine is no business of the tests, and a collected image cannot be pulled again.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
            "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "resolvConf": "",
        "maxPods": 250,
    })
}

/// The node's name.
pub(super) const NAME: &str = "node";
/// Where containerd looks for what devices bring into containers. It would look into /etc/cdi too, where the machine has its own.
pub(super) const CDI: &str = "/run/cdi";
const SOCKET: &str = "/run/containerd/containerd.sock";
const PAUSE: &str = "bed.test/pause:1";
/// Seen: under 15 s.
const LIMIT: Duration = Duration::from_secs(90);
