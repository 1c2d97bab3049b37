//! A running cluster: which parts are started, and how a test reaches them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::control_plane::{ControlPlane, Kubectl, Network};
use super::host::{Assets, Workdir, isolated_folder, log_tails};
use super::monitoring::{Monitoring, Prometheus};
use super::node::{Containerd, Image, Node};

/// A running cluster. Its servers end when this value is dropped, and at the latest with the process.
pub struct Cluster {
    /// A client with an administrator's rights.
    pub client: kube::Client,
    /// kubectl with an administrator's rights.
    pub kubectl: Kubectl,
    monitoring: Option<Monitoring>,
    node: Option<Node>,
    control_plane: ControlPlane,
    _workdir: Option<Workdir>,
}

/// The parts of a cluster that are started. Each value includes the values above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parts {
    /// etcd and the API server.
    ControlPlane,
    /// Scheduler and controller manager.
    Controllers,
    /// containerd, a kubelet and fake GPUs. This value and the next need [`isolated`](super::isolated).
    Node,
    /// Prometheus Operator and Prometheus.
    Monitoring,
}

// === impl Cluster ===

impl Cluster {
    /// Starts the servers and waits until all of them are ready.
    ///
    /// # Errors
    /// When a server is not ready in time. The error has the end of the server's log.
    pub async fn start(assets: &Assets, parts: Parts) -> Result<Self> {
        if parts >= Parts::Node {
            let dir =
                isolated_folder().context("a node can only be started inside kit::cluster::isolated")?;
            return Self::isolated(assets, parts, &dir).await;
        }
        let workdir = Workdir::create()?;
        let controllers = parts >= Parts::Controllers;
        let control_plane =
            ControlPlane::start(assets, workdir.path(), Network::Loopback, controllers).await?;
        Ok(Self::new(control_plane, Some(workdir)))
    }

    async fn isolated(assets: &Assets, parts: Parts, dir: &Path) -> Result<Self> {
        let (control_plane, containerd) = tokio::try_join!(
            ControlPlane::start(assets, dir, Network::Isolated, true),
            Containerd::start(assets, dir),
        )?;
        let mut this = Self::new(control_plane, None);
        let monitoring = async {
            match parts {
                Parts::Monitoring => Monitoring::start(assets, &this.control_plane).await.map(Some),
                _ => Ok(None),
            }
        };
        let (node, monitoring) =
            tokio::try_join!(Node::start(assets, &this.control_plane, containerd), monitoring)?;
        (this.node, this.monitoring) = (Some(node), monitoring);
        Ok(this)
    }

    fn new(control_plane: ControlPlane, workdir: Option<Workdir>) -> Self {
        Self {
            client: control_plane.client.clone(),
            kubectl: control_plane.kubectl.clone(),
            monitoring: None,
            node: None,
            control_plane,
            _workdir: workdir,
        }
    }

    /// Builds an image from files of this machine and imports it on the node.
    ///
    /// # Errors
    /// When a file cannot be read or the cluster has no node.
    pub fn load_image(&self, image: &Image) -> Result<()> {
        self.node()?.load_image(image)
    }

    /// Kills the kubelet and the device plugins. The containers of the node keep running.
    ///
    /// # Errors
    /// When the cluster has no node.
    pub fn stop_kubelet(&self) -> Result<()> {
        self.node()?.stop_kubelet();
        Ok(())
    }

    /// Starts the kubelet again after [`Self::stop_kubelet`], and waits until it has devices.
    ///
    /// # Errors
    /// When the cluster has no node, or the kubelet is not ready in time.
    pub async fn start_kubelet(&self) -> Result<()> {
        self.node()?.start_kubelet(&self.control_plane).await
    }

    /// Kills the API server.
    pub fn kill_api_server(&self) {
        self.control_plane.kill_api_server();
    }

    /// Starts the API server again after [`Self::kill_api_server`], and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start_api_server(&self) -> Result<()> {
        self.control_plane.start_api_server().await
    }

    /// The Prometheus that runs with the operator's configuration.
    ///
    /// # Errors
    /// When the cluster was started without Prometheus.
    pub fn prometheus(&self) -> Result<&Prometheus> {
        Ok(&self.monitoring.as_ref().context("this cluster has no Prometheus")?.prometheus)
    }

    /// The kubeconfig of an administrator, for programs that run outside the cluster.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.control_plane.access.kubeconfig("admin")
    }

    /// The authority of the client certificate that the API server sends to a webhook that requests one.
    #[must_use]
    pub fn webhook_client_ca(&self) -> PathBuf {
        self.control_plane.access.file("ca.crt")
    }

    /// A folder for files of programs that run outside the cluster. It is removed with the cluster.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.control_plane.dir
    }

    /// The audit log: one JSON object per created pod, with the effect of each webhook in its annotations.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.folder().join("audit.log")
    }

    /// The last lines of every server's log.
    #[must_use]
    pub fn log_tails(&self) -> String {
        log_tails(&self.logs())
    }

    fn node(&self) -> Result<&Node> {
        self.node.as_ref().context("this cluster has no node")
    }

    /// The folder of the servers' logs.
    pub(super) fn logs(&self) -> PathBuf {
        self.control_plane.logs()
    }
}
