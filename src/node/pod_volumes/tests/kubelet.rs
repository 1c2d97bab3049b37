//! The folders of a kubelet, created and updated in the steps of its `AtomicWriter.Write` (`pkg/volume/util/atomic_writer.go`).

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

/// The files of a volume: names and contents.
pub(super) type Files<'f> = &'f [(&'f str, &'f str)];

/// The kubelet's root in a temporary folder.
#[derive(Debug)]
pub(super) struct Kubelet {
    root: TempDir,
}

/// Objects that take the place of a file or folder.
pub(super) const OBJECTS: [Object; 7] = [
    Object::Absent,
    Object::LinkToFile,
    Object::LinkToTwin,
    Object::Fifo,
    Object::Socket,
    Object::Folder,
    Object::HugeFile,
];

/// Text of the file that no read may return and no write may change.
pub(super) const SECRET: &str = "secret";

#[derive(Clone, Copy, Debug)]
pub(super) enum Object {
    Absent,
    LinkToFile,
    LinkToTwin,
    Fifo,
    Socket,
    Folder,
    HugeFile,
}

// === impl Kubelet ===

impl Kubelet {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("pods")).unwrap();
        fs::create_dir(root.path().join("outside")).unwrap();
        fs::write(root.path().join("outside/file"), SECRET).unwrap();
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn pod(&self, uid: &str) -> PathBuf {
        self.root().join("pods").join(uid)
    }

    pub(super) fn volume(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("volumes/kubernetes.io~projected/vdi-metrics")
    }

    /// The folder behind `..data`.
    pub(super) fn data(&self, uid: &str) -> PathBuf {
        self.volume(uid).join(fs::read_link(self.volume(uid).join("..data")).unwrap())
    }

    /// Sets up the volume of a pod.
    pub(super) fn session(&self, uid: &str, name: &str) {
        self.project(uid, &[("annotations", &format!("name=\"{name}\"\n"))]);
    }

    /// Sets up the volume of a pod that puts objects into places of the kubelet. A twin of the pod, with the same files but
    /// another name, is outside the folder `pods`.
    pub(super) fn hostile_session(&self, uid: &str) {
        self.project(uid, &[("annotations", SECRET)]);
        fs::rename(self.pod(uid), self.root().join("outside").join(uid)).unwrap();
        self.session(uid, "mallory");
    }

    /// Sets up the volume of a pod, or updates the volume.
    pub(super) fn project(&self, uid: &str, files: Files<'_>) {
        let volume = self.volume(uid);
        fs::create_dir_all(&volume).unwrap();
        let old = fs::read_link(volume.join("..data")).ok();
        let updates = old
            .as_ref()
            .map_or(0, |old| old.extension().unwrap().to_str().unwrap().parse::<u32>().unwrap() + 1);
        let new = format!("..2026_11_30_08_15_00.{updates}");
        fs::create_dir(volume.join(&new)).unwrap();
        for (name, contents) in files {
            fs::write(volume.join(&new).join(name), contents).unwrap();
        }
        symlink(&new, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        for (name, _) in files.iter().filter(|(name, _)| fs::read_link(volume.join(name)).is_err()) {
            symlink(Path::new("..data").join(name), volume.join(name)).unwrap();
        }
        if let Some(old) = old.map(|old| volume.join(old)) {
            for entry in fs::read_dir(&old).unwrap() {
                let name = entry.unwrap().file_name();
                if !files.iter().any(|(kept, _)| name == *kept) {
                    fs::remove_file(volume.join(name)).unwrap();
                }
            }
            fs::remove_dir_all(old).unwrap();
        }
    }

    /// Puts an object into the place of a file or folder.
    pub(super) fn replace(&self, path: &Path, object: Object) {
        let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        // The place can be absent, or below an object that is not a folder.
        _ = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        let special = |kind| mknodat(CWD, path, kind, Mode::RWXU, 0).map_err(Into::into);
        let outside = self.root().join("outside");
        _ = match object {
            Object::Absent => Ok(()),
            Object::LinkToFile => symlink(outside.join("file"), path),
            Object::LinkToTwin => {
                symlink(outside.join(path.strip_prefix(self.root().join("pods")).unwrap()), path)
            }
            Object::Fifo => special(FileType::Fifo),
            Object::Socket => special(FileType::Socket),
            Object::Folder => fs::create_dir(path),
            Object::HugeFile => File::create(path).and_then(|file| file.set_len(1 << 40)),
        };
    }

    /// Whether no file was created or changed outside the folder `pods`.
    pub(super) fn outside_is_unchanged(&self, uid: &str) -> bool {
        let outside = self.root().join("outside");
        let twin = outside.join(self.volume(uid).strip_prefix(self.root().join("pods")).unwrap());
        fs::read_dir(twin).unwrap().count() == 3
            && fs::read_to_string(outside.join("file")).unwrap() == SECRET
    }
}
