//! Fake GPUs of the node, and the programs that allocate them under the names of the real driver and resource.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fake_nvml::{Device, Memory, Scenario, Utilization};
use serde_json::{Value, json};

use super::names::{CDI, NAME};
use crate::cluster::control_plane::ControlPlane;
use crate::cluster::host::{Assets, Server, killed_with_parent};

/// UUIDs of the GPUs for claims of the class `gpu.nvidia.com`.
pub const CLAIMABLE_GPUS: [&str; 3] = [
    "GPU-c1a10000-0c3a-4f6e-9b7d-21a4c8e6f035",
    "GPU-c1a10001-0c3a-4f6e-9b7d-21a4c8e6f035",
    "GPU-c1a10002-0c3a-4f6e-9b7d-21a4c8e6f035",
];

/// UUIDs of the GPUs for containers with the resource `nvidia.com/gpu`.
pub const PLUGIN_GPUS: [&str; 3] = [
    "GPU-91060000-0c3a-4f6e-9b7d-21a4c8e6f035",
    "GPU-91060001-0c3a-4f6e-9b7d-21a4c8e6f035",
    "GPU-91060002-0c3a-4f6e-9b7d-21a4c8e6f035",
];

/// UUID of the GPU that several containers with the resource `nvidia.com/gpu.shared` can have at the same time.
pub const SHARED_GPU: &str = "GPU-54a20000-0c3a-4f6e-9b7d-21a4c8e6f035";

/// The running DRA driver and device plugins.
pub(super) struct Devices {
    _driver: Server,
    _plugins: [Server; 2],
}

// === impl Devices ===

impl Devices {
    /// Starts the programs; the kubelet must be ready. Pods may request devices at once: the scheduler waits for them.
    pub(super) async fn start(assets: &Assets, cluster: &ControlPlane) -> Result<Self> {
        cluster.kubectl.apply(&class().to_string())?;
        let cards = cluster.dir.join("state/cards");
        for uuid in CLAIMABLE_GPUS.into_iter().chain(PLUGIN_GPUS).chain([SHARED_GPU]) {
            write_card(&cards, uuid)?;
        }
        let library = fake_nvml::library().context("the fake driver's library")?;
        let start = |name: &'static str, program, flags: &[String], uuids: &[&str]| -> Result<Server> {
            let mut command = killed_with_parent(&assets.binary(program));
            command.args(flags).args([
                format!("--cards={}", cards.display()),
                format!("--scenarios={}", cluster.dir.join("state").join(name).display()),
                format!("--library={}", library.display()),
            ]);
            command.args(uuids);
            Server::start(name, command, &cluster.logs())
        };
        let node = [
            format!("--kubeconfig={}", cluster.access.kubeconfig("node").display()),
            format!("--node={NAME}"),
            format!("--cdi={CDI}"),
        ];
        let driver = start("dra-driver", "dra-driver", &node, &CLAIMABLE_GPUS)?;
        let plugin = |name, flags: [&str; 2], uuids: &[&str]| {
            start(name, "device-plugin", &flags.map(str::to_owned), uuids)
        };
        let plugins = [
            plugin("device-plugin", ["--resource=nvidia.com/gpu", "--replicas=1"], &PLUGIN_GPUS)?,
            plugin("shared-plugin", ["--resource=nvidia.com/gpu.shared", "--replicas=2"], &[SHARED_GPU])?,
        ];
        driver.ready(LIMIT, || published(cluster)).await?;
        for plugin in &plugins {
            plugin.ready(LIMIT, || registered(plugin.log())).await?;
        }
        Ok(Self { _driver: driver, _plugins: plugins })
    }
}

fn class() -> Value {
    json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": DRIVER},
        "spec": {"selectors": [{"cel": {"expression":
            format!("device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'")}}]},
    })
}

/// Writes what the fake driver shows to a process that has only this card.
fn write_card(cards: &Path, uuid: &str) -> Result<()> {
    let card = Device {
        uuid: Some(uuid.to_owned()),
        name: Some("NVIDIA L40S".to_owned()),
        utilization: Some(Utilization { gpu: 37, memory: 12 }),
        memory: Some(Memory { total: 48 << 30, reserved: 1 << 29, used: 6 << 30 }),
        ..Device::default()
    };
    let alone =
        Scenario { driver_version: Some("580.95.05".to_owned()), devices: vec![card], ..Scenario::default() };
    fs::create_dir_all(cards)?;
    Ok(alone.write(&cards.join(uuid).with_extension("json"))?)
}

async fn published(cluster: &ControlPlane) -> Result<()> {
    let request = http::Request::get("/apis/resource.k8s.io/v1/resourceslices").body(Vec::new())?;
    let slices: Value = cluster.client.request(request).await?;
    let devices = slices["items"][0]["spec"]["devices"].as_array().map_or(0, Vec::len);
    ensure!(devices == CLAIMABLE_GPUS.len(), "{devices} devices");
    Ok(())
}

async fn registered(log: &Path) -> Result<()> {
    ensure!(fs::read_to_string(log)?.contains("Registered"), "not registered");
    Ok(())
}

const DRIVER: &str = "gpu.nvidia.com";
/// Measured: under a second.
const LIMIT: Duration = Duration::from_secs(30);
