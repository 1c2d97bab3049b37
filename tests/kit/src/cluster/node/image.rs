//! Container images, built from files of this machine: without a registry and without Docker.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use tar::Builder;

use super::archive::{Archive, append_file};

/// An image's content and how a container of it starts.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The name as in a manifest, with the tag.
    pub name: String,
    /// The archive of another image on this machine. The files and variables are added to it, and the entry point and the user are
    /// those of this image.
    pub base: Option<PathBuf>,
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
        let mut archive = match &self.base {
            Some(base) => Archive::read(base)?,
            None => Archive::new(&json!({"User": self.user.to_string(), "Entrypoint": self.entrypoint})),
        };
        // An image that only has a base stays that image.
        if self.root.is_some() || !self.files.is_empty() || !self.env.is_empty() {
            archive.add(self.layer()?, &self.env)?;
        }
        archive.write(path, &self.full_name())
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
            append_file(&mut layer, file.at.strip_prefix("/").unwrap_or(&file.at), &content, file.mode)?;
        }
        Ok(layer.into_inner()?)
    }
}
