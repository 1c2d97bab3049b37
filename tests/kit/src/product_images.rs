//! Images of the programs for the node. By default they have the files of the Dockerfile's images, collected by its own script and
//! lists from what `make images` has built. With `VDI_METRICS_IMAGES=built` they are the Dockerfile's images, as `make image` has
//! saved them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use fake_nvml::Scenario;

use crate::cluster::{File, Image, PROBE};

/// Whether the images are those that `make image` has saved.
#[must_use]
pub fn from_dockerfile() -> bool {
    env::var_os("VDI_METRICS_IMAGES").is_some_and(|value| value == "built")
}

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
    let image =
        Image { name: format!("vdi-metrics/{name}:{}", env!("CARGO_PKG_VERSION")), ..Image::default() };
    if from_dockerfile() {
        return Ok(Image { base: Some(root().join(format!("target/images/{name}.tar"))), ..image });
    }
    let files = files(name, &root().join(built).join(program), &folder.join(name))?;
    Ok(Image { files, entrypoint: vec![format!("/{program}")], user, ..image })
}

/// The files that the Dockerfile's script puts into the folder.
fn files(name: &str, program: &Path, folder: &Path) -> Result<Vec<File>> {
    // The folder exists only if an earlier run has left it.
    let _ = fs::remove_dir_all(folder);
    let script = root().join("images/rootfs");
    let mut layout = Command::new(&script);
    layout.arg(root().join(format!("images/{name}.list"))).arg(program).arg(folder);
    let output = layout.output().with_context(|| format!("running {}", script.display()))?;
    ensure!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    let mut files = vec![];
    collect(folder, Path::new("/"), &mut files)?;
    Ok(files)
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
