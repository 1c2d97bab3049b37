//! Images of the programs for the node: the files of the Dockerfile, collected by the Dockerfile's own script and lists from
//! what `make images` has built.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use fake_nvml::Scenario;

use crate::cluster::{File, Image, PROBE};

/// The server's image, with the name in the manifests.
///
/// # Errors
/// When the server is not built, or a library of the list is missing on this machine.
pub fn server(folder: &Path) -> Result<Image> {
    image("server", "vdi-metrics", "target/release", USER, folder)
}

/// The sidecar's image, with its default name and without a GPU driver.
///
/// # Errors
/// When the sidecar is not built, or a library of the list is missing on this machine.
pub fn sidecar(folder: &Path) -> Result<Image> {
    image("sidecar", "vdi-metrics-sidecar", "target/sidecar", USER, folder)
}

/// The node agent's image, with the name in the manifests and without a GPU driver.
///
/// # Errors
/// When the agent is not built, or a library of the list is missing on this machine.
pub fn node(folder: &Path) -> Result<Image> {
    image("node", "vdi-metrics-node", "target/sidecar", ROOT, folder)
}

/// Adds what a GPU node mounts into a container: the driver's library, here the fake one with a fixed scenario.
///
/// # Errors
/// When the library cannot be built.
pub fn with_gpus(image: Image, scenario: &Scenario, folder: &Path) -> Result<Image> {
    let from = folder.join(format!("{}.json", image.name.replace('/', "-")));
    scenario.write(&from)?;
    let mut image = with_driver(image, "/scenario.json")?;
    image.files.push(File { at: "/scenario.json".into(), from, mode: 0o444 });
    Ok(image)
}

/// Adds the fake driver's library, which reads its scenario from this path in the container.
///
/// # Errors
/// When the library cannot be built.
pub fn with_driver(mut image: Image, scenario: &str) -> Result<Image> {
    image.files.push(File {
        at: "/usr/lib/libnvidia-ml.so.1".into(),
        from: fake_nvml::library()?,
        mode: 0o755,
    });
    image.env.push(format!("{}={scenario}", fake_nvml::SCENARIO));
    Ok(image)
}

/// An image with the program of `probe.rs` at the path `program`.
#[must_use]
pub fn probe(name: &str, program: &str) -> Image {
    let files = vec![File { at: program.into(), from: PROBE.into(), mode: 0o755 }];
    Image { name: name.into(), files, entrypoint: vec![program.into()], user: USER, ..Image::default() }
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn image(name: &str, program: &str, built: &str, user: u32, folder: &Path) -> Result<Image> {
    let folder = folder.join(name);
    // The folder exists only if an earlier run has left it.
    let _ = fs::remove_dir_all(&folder);
    let script = root().join("images/rootfs");
    let mut layout = Command::new(&script);
    layout.arg(root().join(format!("images/{name}.list"))).arg(root().join(built).join(program)).arg(&folder);
    let output = layout.output().with_context(|| format!("running {}", script.display()))?;
    ensure!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    let mut files = vec![];
    collect(&folder, Path::new("/"), &mut files)?;
    Ok(Image {
        name: format!("vdi-metrics/{name}:{}", env!("CARGO_PKG_VERSION")),
        files,
        entrypoint: vec![format!("/{program}")],
        user,
        ..Image::default()
    })
}

fn collect(folder: &Path, at: &Path, files: &mut Vec<File>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (from, at) = (entry.path(), at.join(entry.file_name()));
        match from.is_dir() {
            true => collect(&from, &at, files)?,
            false => files.push(File { at, from, mode: 0o755 }),
        }
    }
    Ok(())
}

/// The user IDs in the Dockerfile.
const USER: u32 = 65532;
const ROOT: u32 = 0;
