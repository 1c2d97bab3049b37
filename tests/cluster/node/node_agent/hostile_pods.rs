//! Pods that pretend to be the session of another pod, or offer the agent paths that lead elsewhere. Their
//! namespace is not opted in, so the webhook is not called and they have no sidecar.

use std::{
    fs::{self, File},
    os::unix::fs::{FileTypeExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kit::cluster::TestCluster;
use kube::ResourceExt;
use serde_json::{Value, json};
use vdi_metrics::contract::{ANNOTATIONS, CONTAINER, REPORT};

use super::{
    node_driver::Work,
    volume::{pod_folder, volume},
};
use crate::support::{
    common::RESTRICTED,
    node_pods::{all_ready, create, desktop_without_fake_gpu},
};

/// The running pods.
pub(super) struct HostilePods {
    /// Has a volume as a session has one, with files of its own choice.
    pub(super) forger: Pod,
    /// Has files in an `emptyDir` with the name of the volume.
    pub(super) trapper: Pod,
    /// A file of the node to which a link of `trapper` leads.
    target: PathBuf,
}

/// Text that no report of the agent has.
const TEXT: &str = "not a report";

// === impl HostilePods ===

impl HostilePods {
    /// Creates the pods. They pretend to be `victim`, which has this card.
    pub(super) async fn create(cluster: &TestCluster, victim: &Pod, card: &str) -> Result<Self> {
        let namespace = cluster.scratch_namespace(&[RESTRICTED]).await?;
        cluster.kubectl.apply(&forged_files(&namespace, victim, card)?.to_string())?;
        for (name, source) in [
            ("forger", json!({"projected": {"sources": [{"configMap": {"name": FORGED}}]}})),
            ("trapper", json!({"emptyDir": {}})),
        ] {
            let mut pod = desktop_without_fake_gpu(name);
            pod["spec"]["volumes"] = json!([source]);
            pod["spec"]["volumes"][0]["name"] = json!(CONTAINER);
            pod["spec"]["containers"][0]["volumeMounts"] =
                json!([{"name": CONTAINER, "mountPath": "/files"}]);
            create(cluster, &namespace, pod).await?;
        }
        let mut all = all_ready(cluster, &namespace, 2).await?;
        let (trapper, forger) = (all.pop().context("no pod")?, all.pop().context("no pod")?);
        let target = cluster.folder().join("target-of-a-link");
        fs::write(&target, TEXT)?;
        set_traps(&traps(&trapper)?, &target)?;
        Ok(Self { forger, trapper, target })
    }

    /// Number of pods that the agent writes a report for.
    pub(super) fn with_report(&self) -> usize {
        [&self.forger].len()
    }

    /// Checks that the agent has given `forger` only its own card and work, and has followed no link. The annotation names the card of
    /// another pod.
    pub(super) fn check(&self, forgers: &Work) -> Result<()> {
        let report = fs::read(volume(&self.forger)?.join(REPORT))?;
        let report: Value =
            serde_json::from_slice(&report).context("the agent has not replaced the forged report")?;
        let devices = report["devices"].as_array().context("no devices")?;
        let uuids: Vec<_> = devices.iter().map(|device| &device["device"]["uuid"]).collect();
        ensure!(uuids == [&forgers.gpu], "the forger has other cards than its own: {report}");
        let processes = &devices[0]["values"]["Ok"]["own"]["processes"];
        ensure!(*processes == json!([[forgers.pid, "graphics"]]), "{processes} are not the forger's");
        ensure!(fs::read_to_string(&self.target)? == TEXT, "the agent has written through a link");
        let traps = traps(&self.trapper)?;
        ensure!(fs::symlink_metadata(traps.join(REPORT))?.is_symlink(), "the agent has replaced a link");
        let pipe = fs::symlink_metadata(traps.join("..data").join(ANNOTATIONS))?;
        ensure!(pipe.file_type().is_fifo(), "the agent has replaced a FIFO");
        Ok(())
    }
}

/// The files of a session with the names of another pod, and with the largest annotations that fit.
fn forged_files(namespace: &str, victim: &Pod, card: &str) -> Result<Value> {
    let uid = victim.uid().context("no uid")?;
    let annotations = format!(
        "vdi-metrics.io/gpu=\"{card}\"\nmetadata.name=\"{}\"\nmetadata.uid=\"{uid}\"\nlong=\"{}\"\n",
        victim.name_any(),
        "x".repeat(900 << 10),
    );
    Ok(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": FORGED, "namespace": namespace},
        "data": {ANNOTATIONS: annotations, REPORT: TEXT, "uid": uid},
    }))
}

/// Files as a desktop can create them in its own folder.
fn set_traps(folder: &Path, target: &Path) -> Result<()> {
    let data = folder.join("..2026");
    fs::create_dir(&data)?;
    symlink("..2026", folder.join("..data"))?;
    symlink(target, folder.join(REPORT))?;
    File::create(folder.join("huge"))?.set_len(1 << 40)?;
    let made = Command::new("mkfifo").arg(data.join(ANNOTATIONS)).status()?;
    ensure!(made.success(), "mkfifo");
    Ok(())
}

fn traps(trapper: &Pod) -> Result<PathBuf> {
    Ok(pod_folder(trapper)?.join("volumes/kubernetes.io~empty-dir").join(CONTAINER))
}

const FORGED: &str = "forged";
