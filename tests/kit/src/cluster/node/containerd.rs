//! containerd, the container runtime of the node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use serde_json::json;

use super::image::{File, Image};
use super::names::{CDI, LIMIT, SOCKET};
use crate::cluster::host::{Assets, BRIDGE, Server, killed_with_parent, output};

/// A running containerd. It can start before the API server.
pub(in crate::cluster) struct Containerd {
    _server: Server,
    ctr: PathBuf,
    dir: PathBuf,
    /// Two concurrent imports of the same image fail, because each sees the partial result of the other.
    importing: Mutex<()>,
}

// === impl Containerd ===

impl Containerd {
    /// Starts containerd and imports the pause image, whose container owns a pod's namespaces.
    pub(in crate::cluster) async fn start(assets: &Assets, dir: &Path) -> Result<Self> {
        fs::create_dir_all("/etc/cni/net.d")?;
        fs::write("/etc/cni/net.d/testbed.conflist", network().to_string())?;
        let config = dir.join("containerd.toml");
        fs::write(&config, containerd_config(assets, dir))?;
        let mut command = killed_with_parent(&assets.binary("containerd"));
        // containerd looks for its shim and for runc in PATH.
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
            ..Image::default()
        })?;
        Ok(this)
    }

    /// Imports the image.
    pub(super) fn load_image(&self, image: &Image) -> Result<()> {
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

fn network() -> serde_json::Value {
    json!({"cniVersion": "1.0.0", "name": "testbed", "plugins": [{
        "type": "bridge", "bridge": BRIDGE, "isGateway": true, "ipMasq": false, "hairpinMode": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }]})
}

fn containerd_config(assets: &Assets, dir: &Path) -> String {
    let (state, bin) = (dir.join("state").display().to_string(), assets.bin().display().to_string());
    // Containers of build machines usually have no right to lower an OOM score.
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

const PAUSE: &str = "testbed.test/pause:1";
