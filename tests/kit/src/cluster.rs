//! A real Kubernetes for tests, from pinned binaries: started, used, looked into on failure, ended without a trace.
//!
//! A control plane alone takes seconds and no root. A node needs root and runs inside [`isolated`]. To start one more
//! server give it a file here; what a *test* needs to know belongs to `tests/cluster`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use access::Access;
use control_plane::{ControlPlane, Place};
use monitoring::Monitoring;
use node::{Containerd, Node};
use workdir::Workdir;

mod access;
mod assets;
mod bed;
mod beside;
mod control_plane;
pub mod crowd;
mod devices;
mod image;
mod kubectl;
mod monitoring;
mod namespaces;
mod node;
mod process;
mod prometheus;
mod wait;
mod workdir;

pub use assets::{Assets, Found};
pub use bed::{Bed, Test};
pub use beside::Beside;
pub use devices::{CLAIMABLE_GPUS, PLUGIN_GPUS};
pub use image::{File, Image};
pub use kubectl::Kubectl;
pub use namespaces::{isolated, lacking, outside};
pub use prometheus::{Labels, Prometheus, Target};
pub use wait::eventually;

/// A running cluster. Its servers end when it is dropped, or with the process.
pub struct Cluster {
    /// A client with an administrator's rights.
    pub client: kube::Client,
    /// kubectl with an administrator's rights.
    pub kubectl: Kubectl,
    monitoring: Option<Monitoring>,
    node: Option<Node>,
    _control_plane: ControlPlane,
    access: Access,
    dir: PathBuf,
    _workdir: Option<Workdir>,
}

/// How much of a cluster is started; each has all that is above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parts {
    /// etcd and the API server.
    ControlPlane,
    /// Scheduler and controller manager.
    Controllers,
    /// containerd, a kubelet and fake GPUs. From here on only inside [`isolated`].
    Node,
    /// Prometheus Operator and Prometheus.
    Monitoring,
}

// === impl Cluster ===

impl Cluster {
    /// Starts the servers; all that is asked for is ready.
    ///
    /// # Errors
    /// When a server is not ready in time, with the end of its log.
    pub async fn start(assets: &Assets, parts: Parts) -> Result<Self> {
        if parts >= Parts::Node {
            let dir = namespaces::inside().context("a node is started inside kit::cluster::isolated only")?;
            return Self::isolated(assets, parts, dir).await;
        }
        let workdir = Workdir::create()?;
        let dir = workdir.path().to_owned();
        let controllers = parts >= Parts::Controllers;
        let (control_plane, access, client) =
            ControlPlane::start(assets, &dir, Place::Loopback, controllers).await?;
        Ok(Self::new(assets, control_plane, access, client, dir, Some(workdir)))
    }

    async fn isolated(assets: &Assets, parts: Parts, dir: PathBuf) -> Result<Self> {
        let ((control_plane, access, client), containerd) = tokio::try_join!(
            ControlPlane::start(assets, &dir, Place::Isolated, true),
            Containerd::start(assets, &dir),
        )?;
        let mut this = Self::new(assets, control_plane, access, client, dir, None);
        let monitoring = async {
            match parts {
                Parts::Monitoring => Monitoring::start(assets, &this).await.map(Some),
                _ => Ok(None),
            }
        };
        let (node, monitoring) = tokio::try_join!(Node::start(assets, &this, containerd), monitoring)?;
        (this.node, this.monitoring) = (Some(node), monitoring);
        Ok(this)
    }

    fn new(
        assets: &Assets,
        control_plane: ControlPlane,
        access: Access,
        client: kube::Client,
        dir: PathBuf,
        workdir: Option<Workdir>,
    ) -> Self {
        let kubectl = Kubectl::new(assets.binary("kubectl"), access.kubeconfig("admin"));
        Self {
            client,
            kubectl,
            monitoring: None,
            node: None,
            _control_plane: control_plane,
            access,
            dir,
            _workdir: workdir,
        }
    }

    /// Builds an image from files of this machine and makes it known to the node.
    ///
    /// # Errors
    /// When a file cannot be read or there is no node.
    pub fn load_image(&self, image: &Image) -> Result<()> {
        self.node.as_ref().context("this cluster has no node")?.load_image(image)
    }

    /// The Prometheus that runs on the operator's configuration.
    ///
    /// # Errors
    /// When the cluster was started without.
    pub fn prometheus(&self) -> Result<&Prometheus> {
        Ok(&self.monitoring.as_ref().context("this cluster has no Prometheus")?.prometheus)
    }

    /// The kubeconfig of an administrator, for programs that are started beside the cluster.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.access.kubeconfig("admin")
    }

    /// A folder for files of programs that are started beside the cluster. It goes with the cluster.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// The audit log: one JSON object per created pod, with what each webhook did in its annotations.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    /// The last lines of every server's log.
    #[must_use]
    pub fn log_tails(&self) -> String {
        process::log_tails(&self.logs())
    }

    fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }
}

/// A static program for pods of tests; what it can do is said in `probe.rs`.
pub const PROBE: &str = concat!(env!("OUT_DIR"), "/probe");
