//! The installed product: its images, and the manifests without a change but for the scrape interval.
//! It is installed once per run and all tests share it. A test that stops the server runs alone.

use std::{env, path::Path, process::Command, sync::LazyLock, time::Instant};

use anyhow::{Context, Result, ensure};
use fake_nvml::{Device, Memory, Scenario, Utilization};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kit::{
    cluster::{Image, TestCluster, eventually},
    product_images,
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use vdi_metrics::contract::key;

use super::common::{MINUTE, RESTRICTED, TWO_MINUTES, report, root};
use super::desktops::{DESKTOP_IMAGE, desktop};

pub(crate) const NAMESPACE: &str = "vdi-metrics";
const DEPLOYMENT: &str = "vdi-metrics-webhook";
/// The number of servers in the shipped Deployment.
pub(crate) const REPLICAS: i32 = 2;

/// The sidecar's image as it is shipped, without a fake GPU: for desktops that get a GPU from the node.
pub(crate) const SIDECAR_WITHOUT_GPU: &str = "vdi-metrics/sidecar:alone";

/// UUID and utilization of the fake GPU in the other image of the sidecar.
pub(crate) const GPU: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
pub(crate) const UTILIZATION: f64 = 0.37;

static INSTALLED: OnceCell<()> = OnceCell::const_new();
/// Tests that need the running server hold a read guard; a test that stops the server holds the write guard.
static RUNNING: LazyLock<RwLock<()>> = LazyLock::new(RwLock::default);

/// Installs the product if necessary. The server keeps running as long as the guard exists.
pub(crate) async fn installed(cluster: &TestCluster) -> Result<RwLockReadGuard<'static, ()>> {
    cluster.show_on_failure(NAMESPACE);
    INSTALLED.get_or_try_init(|| install(cluster)).await?;
    Ok(RUNNING.read().await)
}

/// Installs the product if necessary, for a test that no other test may run with. The test must leave the server running.
pub(crate) async fn installed_alone(cluster: &TestCluster) -> Result<RwLockWriteGuard<'static, ()>> {
    cluster.show_on_failure(NAMESPACE);
    INSTALLED.get_or_try_init(|| install(cluster)).await?;
    Ok(RUNNING.write().await)
}

/// A namespace that is opted in as a user does it: with the label, and with the shipped base for session namespaces.
pub(crate) async fn session_namespace(cluster: &TestCluster) -> Result<String> {
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED), RESTRICTED]).await?;
    let base = root().join("manifests/session-namespace");
    cluster.kubectl.run(&["apply", "--namespace", &namespace, "--kustomize", &base.display().to_string()])?;
    Ok(namespace)
}

/// Sets the number of servers and waits until exactly that many run.
pub(crate) async fn scale(cluster: &TestCluster, replicas: i32) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(cluster.client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch(DEPLOYMENT, &PatchParams::default(), &patch).await?;
    if replicas > 0 {
        return wait_until_serving(cluster, replicas).await;
    }
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), NAMESPACE);
    eventually("all servers have stopped", MINUTE, || async {
        let left = pods.list(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await
}

/// Waits until this number of servers is Ready and the API server can call one of them.
pub(crate) async fn wait_until_serving(cluster: &TestCluster, replicas: i32) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(cluster.client.clone(), NAMESPACE);
    eventually("the servers are ready", TWO_MINUTES, || async {
        let status = deployments.get(DEPLOYMENT).await?.status.unwrap_or_default();
        ensure!([status.ready_replicas, status.replicas] == [Some(replicas); 2], "{status:?}");
        Ok(())
    })
    .await?;
    // The API server learns of endpoints through a watch, so a Ready server may not be reachable yet.
    let namespace = cluster.scratch_namespace(&[(key::INJECT, key::ENABLED)]).await?;
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), &namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let pod: Pod = serde_json::from_value(desktop(&["sleep"]))?;
    eventually("the API server calls the webhook", MINUTE, || async {
        let pod = pods.create(&dry_run, &pod).await?;
        ensure!(pod.annotations().contains_key(key::STATUS), "the webhook was not called");
        Ok(())
    })
    .await
}

/// Requirement of the installation that this machine does not meet, in one sentence.
pub(crate) fn missing_requirement() -> Option<String> {
    let tools = [("make", "make"), ("readelf", "binutils")];
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    let (tool, package) = tools.into_iter().find(|(tool, _)| !has(tool))?;
    Some(format!("installing the product needs {tool} (Debian: apt-get install {package})"))
}

/// Builds the programs as they are shipped, unless the images of `make image` are tested.
pub(crate) fn build() -> Result<()> {
    if product_images::from_dockerfile() {
        return Ok(());
    }
    let mut make = Command::new("make");
    make.arg("images").current_dir(root());
    // cargo sets these variables for the programs that it runs. ring's build script depends on them, so ring and every crate
    // that needs ring would be rebuilt.
    for (name, _) in env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"]
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            make.env_remove(name);
        }
    }
    let status = make.status().context("running make images")?;
    ensure!(status.success(), "make images failed; see its messages above");
    Ok(())
}

async fn install(cluster: &TestCluster) -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let sidecar = product_images::sidecar(folder)?;
    cluster.load_image(&product_images::probe(DESKTOP_IMAGE, "/desktop"))?;
    cluster.load_image(&product_images::server(folder)?)?;
    cluster.load_image(&Image { name: SIDECAR_WITHOUT_GPU.into(), ..sidecar.clone() })?;
    cluster.load_image(&product_images::with_gpus(sidecar, &one_gpu(), folder)?)?;
    apply(cluster).await
}

/// Applies the manifests, and waits until the product works.
pub(crate) async fn apply(cluster: &TestCluster) -> Result<()> {
    let began = Instant::now();
    cluster.kubectl.run(&["apply", "--kustomize", &root().join("manifests").display().to_string()])?;
    for (monitor, endpoints) in [
        ("servicemonitor/vdi-metrics-server", "endpoints"),
        ("servicemonitor/vdi-metrics-sessions", "endpoints"),
        ("podmonitor/vdi-metrics-node", "podMetricsEndpoints"),
    ] {
        scrape_every_second(cluster, monitor, endpoints)?;
    }
    wait_until_serving(cluster, REPLICAS).await?;
    report(&format!("first sidecar {:.1?} after kubectl apply -k manifests", began.elapsed()));
    Ok(())
}

/// Changes the interval of a monitor, as an operator of the product may do: with the shipped 30 s the tests would wait for
/// minutes.
fn scrape_every_second(cluster: &TestCluster, monitor: &str, endpoints: &str) -> Result<()> {
    let path = format!("/spec/{endpoints}/0/interval");
    let patch = json!([{"op": "replace", "path": path, "value": "1s"}]).to_string();
    let arguments = ["patch", monitor, "--namespace", NAMESPACE, "--type", "json", "--patch", &patch];
    cluster.kubectl.run(&arguments)?;
    Ok(())
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
