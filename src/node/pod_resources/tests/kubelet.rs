//! A kubelet root with the kubelet's socket.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kit::kubelet::{self, Answer, Kubelet};
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::super::PodResources;

/// A temporary folder with the layout of a kubelet root.
pub(super) struct KubeletRoot(TempDir);

// === impl KubeletRoot ===

impl KubeletRoot {
    pub(super) fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        fs::create_dir(root.socket().parent().unwrap()).unwrap();
        root
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn socket(&self) -> PathBuf {
        kubelet::socket(self.path())
    }

    pub(super) fn client(&self) -> PodResources {
        PodResources::new(self.path())
    }

    pub(super) fn bind(&self) -> UnixListener {
        kubelet::bind(self.path())
    }

    pub(super) fn start(&self, answer: Answer) -> Kubelet {
        Kubelet::start(self.path(), answer)
    }
}
