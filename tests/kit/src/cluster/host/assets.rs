//! The paths of the servers' binaries. `tests/testbed/build` builds them. If `KUBEBUILDER_ASSETS` names a folder, the three
//! binaries in it (etcd, kube-apiserver, kubectl) are used instead.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The folders with the cluster's binaries.
#[derive(Clone, Debug)]
pub struct Assets {
    bin: PathBuf,
    kubebuilder: Option<PathBuf>,
}

/// The binaries, or one sentence that names what this machine needs to build them.
pub type AssetsOrMissing = std::result::Result<Assets, String>;

impl Assets {
    /// Finds the binaries of the pinned versions, and builds them first if they do not exist yet (this takes minutes).
    ///
    /// # Errors
    /// When the build fails for another reason than a missing requirement.
    pub fn find() -> Result<AssetsOrMissing> {
        Ok(built("build")?.map(|bin| Self { bin, kubebuilder: kubebuilder() }))
    }

    /// The path of one binary.
    #[must_use]
    pub fn binary(&self, name: &str) -> PathBuf {
        let chosen = self.kubebuilder.iter().map(|folder| folder.join(name)).find(|path| path.exists());
        chosen.unwrap_or_else(|| self.bin.join(name))
    }

    /// The folder of all binaries that the script has built.
    pub(in crate::cluster) fn bin(&self) -> &Path {
        &self.bin
    }

    /// The folder of cert-manager's CRDs.
    #[must_use]
    pub fn cert_manager_crds(&self) -> PathBuf {
        self.bin.with_file_name("cert-manager-crds")
    }

    /// The folder of Prometheus Operator's CRDs.
    pub(in crate::cluster) fn crds(&self) -> PathBuf {
        self.bin.with_file_name("crds")
    }
}

/// Runs a script of `tests/testbed` that builds a folder, and returns the folder or what this machine lacks.
pub(crate) fn built(script: &str) -> Result<Result<PathBuf, String>> {
    let script = testbed(script);
    let output = Command::new(&script)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last().unwrap_or_default();
    match output.status.code() {
        Some(0) => Ok(Ok(last.into())),
        Some(MISSING) => Ok(Err(last.to_owned())),
        _ => bail!("{} failed: {}; see its messages above", script.display(), output.status),
    }
}

/// The path of a file of the test bed.
pub(crate) fn testbed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed").join(file)
}

fn kubebuilder() -> Option<PathBuf> {
    std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from)
}

/// A build script's exit status when this machine does not meet a requirement.
const MISSING: i32 = 3;

/// A static program for pods of tests. `probe.rs` describes its commands.
pub const PROBE: &str = concat!(env!("OUT_DIR"), "/probe");
