//! A node: containerd, a kubelet and fake GPUs. A node needs root and the namespaces of [`isolated`](super::isolated).

mod archive;
mod containerd;
mod devices;
mod image;
mod names;

use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use serde_json::json;

use super::control_plane::ControlPlane;
use super::host::{Assets, NODE_ADDRESS, Server, killed_with_parent};

pub(super) use containerd::Containerd;
use devices::Devices;
pub use devices::{CLAIMABLE_GPUS, PLUGIN_GPUS, SHARED_GPU};
pub use image::{File, Image};
use names::{LIMIT, NAME, SOCKET};

/// The running node.
pub(super) struct Node {
    assets: Assets,
    /// None while the kubelet is stopped.
    kubelet: Mutex<Option<Kubelet>>,
    containerd: Containerd,
}

/// The kubelet, and the programs that register with it.
struct Kubelet {
    _devices: Devices,
    _server: Server,
}

// === impl Node ===

impl Node {
    /// Starts the kubelet with a running containerd, and waits until the node is Ready, untainted and has devices.
    pub(super) async fn start(
        assets: &Assets,
        cluster: &ControlPlane,
        containerd: Containerd,
    ) -> Result<Self> {
        let kubelet = Mutex::new(Some(Kubelet::start(assets, cluster).await?));
        Ok(Self { assets: assets.clone(), kubelet, containerd })
    }

    /// Kills the kubelet and the programs that register with it. The containers keep running.
    pub(super) fn stop_kubelet(&self) {
        self.kubelet.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Starts the kubelet again, and waits until it has devices.
    pub(super) async fn start_kubelet(&self, cluster: &ControlPlane) -> Result<()> {
        let kubelet = Kubelet::start(&self.assets, cluster).await?;
        *self.kubelet.lock().unwrap_or_else(PoisonError::into_inner) = Some(kubelet);
        Ok(())
    }

    /// Imports the image on this node.
    pub(super) fn load_image(&self, image: &Image) -> Result<()> {
        self.containerd.load_image(image)
    }
}

// === impl Kubelet ===

impl Kubelet {
    async fn start(assets: &Assets, cluster: &ControlPlane) -> Result<Self> {
        let config = cluster.dir.join("kubelet.json");
        fs::write(&config, kubelet_config(cluster).to_string())?;
        let mut command = killed_with_parent(&assets.binary("kubelet"));
        command.args([
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", cluster.access.kubeconfig("node").display()),
            format!("--hostname-override={NAME}"),
            format!("--node-ip={NODE_ADDRESS}"),
        ]);
        let server = Server::start("kubelet", command, &cluster.logs())?;
        let nodes = Api::<NodeObject>::all(cluster.client.clone());
        server.ready(LIMIT, || ready(&nodes)).await?;
        let devices = Devices::start(assets, cluster).await?;
        Ok(Self { _devices: devices, _server: server })
    }
}

async fn ready(nodes: &Api<NodeObject>) -> Result<()> {
    // After a restart the node's condition is still from before. And the kubelet removes the sockets of device plugins before it
    // opens its own.
    UnixStream::connect(REGISTRATION)?;
    let node = nodes.get(NAME).await?;
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    ensure!(ready.is_some_and(|ready| ready.status == "True"), "{ready:?}");
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    ensure!(taints.is_empty(), "{taints:?}");
    Ok(())
}

fn kubelet_config(cluster: &ControlPlane) -> serde_json::Value {
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
        // No eviction: the machine's free disk space does not matter to the tests, and there is no registry from which a
        // removed image could be pulled again.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
            "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "resolvConf": "",
        "maxPods": 250,
    })
}

/// The socket at which device plugins register.
const REGISTRATION: &str = "/var/lib/kubelet/device-plugins/kubelet.sock";
