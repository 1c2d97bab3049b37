//! Archives of images, as `docker save` writes them and `ctr images import` reads them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

/// An image in memory.
pub(super) struct Archive {
    /// The configuration in JSON. Its bytes are the identity of an image, so a read image keeps them.
    config: Vec<u8>,
    /// The layers, each a tar without compression.
    layers: Vec<Vec<u8>>,
}

// === impl Archive ===

impl Archive {
    /// An image without layers, whose containers start as `config` says.
    pub(super) fn new(config: &Value) -> Self {
        let config = json!({
            "architecture": architecture(), "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        Self { config: config.to_string().into_bytes(), layers: vec![] }
    }

    /// Reads an archive with one image.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let mut files = files(path)?;
            let manifest = files.remove("manifest.json").context("no manifest.json")?;
            let manifest: Value = serde_json::from_slice(&manifest)?;
            let mut take = |name: &Value| {
                name.as_str().and_then(|name| files.remove(name)).with_context(|| format!("no file {name}"))
            };
            let layers = manifest[0]["Layers"].as_array().context("no layers")?;
            let config = take(&manifest[0]["Config"])?;
            Ok(Self { config, layers: layers.iter().map(take).collect::<Result<_>>()? })
        };
        read().with_context(|| format!("reading the image {}", path.display()))
    }

    /// Adds a layer, and environment variables of the form `NAME=value`.
    pub(super) fn add(&mut self, layer: Vec<u8>, env: &[String]) -> Result<()> {
        let mut config: Value = serde_json::from_slice(&self.config)?;
        append(&mut config["rootfs"]["diff_ids"], [format!("sha256:{}", hex(&layer))]);
        append(&mut config["config"]["Env"], env.iter().cloned());
        if let Some(config) = config.as_object_mut() {
            // A history without an entry for the new layer is invalid.
            config.remove("history");
        }
        self.config = config.to_string().into_bytes();
        self.layers.push(layer);
        Ok(())
    }

    /// Writes the archive. The image has this name in it.
    pub(super) fn write(&self, path: &Path, name: &str) -> Result<()> {
        let layers: Vec<_> = (0..self.layers.len()).map(|index| format!("layer-{index}.tar")).collect();
        let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": layers}]);
        let mut archive = Builder::new(File::create(path)?);
        for (name, layer) in layers.iter().zip(&self.layers) {
            append_file(&mut archive, Path::new(name), layer, 0o644)?;
        }
        append_file(&mut archive, Path::new("config.json"), &self.config, 0o644)?;
        append_file(&mut archive, Path::new("manifest.json"), manifest.to_string().as_bytes(), 0o644)?;
        archive.finish().with_context(|| format!("writing {}", path.display()))
    }
}

/// Appends a file of root to a tar.
pub(super) fn append_file<W: std::io::Write>(
    archive: &mut Builder<W>,
    path: &Path,
    content: &[u8],
    mode: u32,
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    Ok(archive.append_data(&mut header, path, content)?)
}

/// The regular files of a tar, by their path.
fn files(path: &Path) -> Result<HashMap<String, Vec<u8>>> {
    let mut files = HashMap::new();
    for entry in tar::Archive::new(File::open(path)?).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let name = entry.path()?.to_string_lossy().into_owned();
            let mut content = vec![];
            entry.read_to_end(&mut content)?;
            files.insert(name, content);
        }
    }
    Ok(files)
}

/// Appends to a list, which may be absent.
fn append(list: &mut Value, values: impl IntoIterator<Item = String>) {
    let mut all = list.as_array().cloned().unwrap_or_default();
    all.extend(values.into_iter().map(Value::from));
    *list = all.into();
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_archive_keeps_its_configuration_until_a_layer_is_added() -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let mut written = Archive::new(&json!({"User": "65532", "Env": ["A=1"]}));
        written.add(b"first".to_vec(), &[])?;
        // Another program writes the fields in another order, and with spaces.
        written.config = String::from_utf8(written.config)?.replacen('{', "{ ", 1).into_bytes();
        written.write(file.path(), "docker.io/vdi-metrics/server:1")?;

        let mut read = Archive::read(file.path())?;
        assert_eq!(read.config, written.config);
        read.add(b"second".to_vec(), &["B=2".to_owned()])?;
        assert_eq!(read.layers, [b"first".to_vec(), b"second".to_vec()]);
        let config: Value = serde_json::from_slice(&read.config)?;
        assert_eq!(config["config"], json!({"User": "65532", "Env": ["A=1", "B=2"]}));
        let ids = ["first", "second"].map(|layer| format!("sha256:{}", hex(layer.as_bytes())));
        assert_eq!(config["rootfs"]["diff_ids"], json!(ids));
        Ok(())
    }
}
