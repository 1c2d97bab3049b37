//! Where the servers' binaries are: built by `tests/testbed/build`, or `KUBEBUILDER_ASSETS` for the three it holds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The folders that hold the binaries of a bed.
#[derive(Clone, Debug)]
pub struct Assets {
    bin: PathBuf,
    kubebuilder: Option<PathBuf>,
}

/// The binaries, or one sentence on what this machine lacks to have them.
pub type Found = std::result::Result<Assets, String>;

impl Assets {
    /// Finds the binaries of the pinned versions; builds them first where that was not done yet (minutes).
    ///
    /// # Errors
    /// When the build fails for another reason than something missing.
    pub fn find() -> Result<Found> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/build");
        let output = Command::new(&script)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("running {}", script.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().last().unwrap_or_default();
        match output.status.code() {
            Some(0) => Ok(Ok(Self { bin: last.into(), kubebuilder: kubebuilder() })),
            Some(MISSING) => Ok(Err(last.to_owned())),
            _ => bail!("{} failed: {}; its messages are above", script.display(), output.status),
        }
    }

    /// The path of one binary.
    #[must_use]
    pub fn binary(&self, name: &str) -> PathBuf {
        let chosen = self.kubebuilder.iter().map(|folder| folder.join(name)).find(|path| path.exists());
        chosen.unwrap_or_else(|| self.bin.join(name))
    }

    /// The folder of all binaries that were built here.
    pub(super) fn bin(&self) -> &Path {
        &self.bin
    }

    /// The folder of the operator's own CRDs.
    pub(super) fn crds(&self) -> PathBuf {
        self.bin.with_file_name("crds")
    }
}

fn kubebuilder() -> Option<PathBuf> {
    std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from)
}

/// The exit status with which the build script says that this machine lacks something.
const MISSING: i32 = 3;
