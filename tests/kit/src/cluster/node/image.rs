//! Container images, built from files of this machine: one layer, without a registry and without Docker.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

/// An image's content and how a container of it starts.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The name as in a manifest, with the tag.
    pub name: String,
    /// A folder on this machine with files, folders and links of the image. The links lead to paths in the image.
    pub root: Option<PathBuf>,
    /// More files of the image.
    pub files: Vec<File>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// The ID of the user that the program runs as.
    pub user: u32,
    /// Environment variables, each as `NAME=value`.
    pub env: Vec<String>,
}

/// File of an image.
#[derive(Clone, Debug)]
pub struct File {
    /// The absolute path in the image.
    pub at: PathBuf,
    /// The path on this machine from which the content is read.
    pub from: PathBuf,
    /// The permissions.
    pub mode: u32,
}

// === impl Image ===

impl Image {
    /// Writes the image as an archive for `ctr images import`.
    pub(super) fn write_archive(&self, path: &Path) -> Result<()> {
        let layer = self.layer()?;
        let config = json!({
            "architecture": architecture(), "os": "linux",
            "config": {"User": self.user.to_string(), "Entrypoint": self.entrypoint, "Env": self.env},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
        });
        let manifest =
            json!([{"Config": "config.json", "RepoTags": [self.full_name()], "Layers": ["layer.tar"]}]);
        let mut archive = Builder::new(fs::File::create(path)?);
        append(&mut archive, Path::new("layer.tar"), &layer, 0o644)?;
        append(&mut archive, Path::new("config.json"), config.to_string().as_bytes(), 0o644)?;
        append(&mut archive, Path::new("manifest.json"), manifest.to_string().as_bytes(), 0o644)?;
        archive.finish().with_context(|| format!("writing {}", path.display()))
    }

    /// The name as the kubelet requests it. A name without a registry means Docker's registry.
    fn full_name(&self) -> String {
        match self.name.split_once('/') {
            Some((registry, _)) if registry.contains(['.', ':']) => self.name.clone(),
            Some(_) => format!("docker.io/{}", self.name),
            None => format!("docker.io/library/{}", self.name),
        }
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = Builder::new(Vec::new());
        layer.follow_symlinks(false);
        if let Some(root) = &self.root {
            layer
                .append_dir_all("", root)
                .with_context(|| format!("reading {} for the image {}", root.display(), self.name))?;
        }
        for file in &self.files {
            let content = fs::read(&file.from)
                .with_context(|| format!("reading {} for the image {}", file.from.display(), self.name))?;
            append(&mut layer, file.at.strip_prefix("/").unwrap_or(&file.at), &content, file.mode)?;
        }
        Ok(layer.into_inner()?)
    }
}

fn append<W: std::io::Write>(archive: &mut Builder<W>, path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    Ok(archive.append_data(&mut header, path, content)?)
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
