//! A certificate in files: the server uses every valid change, as the kubelet makes it, and no other.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use kit::{
    process::{Process, eventually},
    tls::Certificate,
};
use tempfile::TempDir;

/// A mounted Secret: the files are links into the folder `..data`, which is a link to the folder of one version.
struct Mount {
    folder: TempDir,
    versions: u32,
}

// === impl Mount ===

impl Mount {
    fn of(certificate: &Certificate) -> Self {
        let mut mount = Self { folder: tempfile::tempdir().unwrap(), versions: 0 };
        mount.update(&fs::read(certificate.cert()).unwrap(), &fs::read(certificate.key()).unwrap());
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), mount.file(name)).unwrap();
        }
        mount
    }

    /// Swaps the link, as the kubelet does.
    fn update(&mut self, certificate: &[u8], key: &[u8]) {
        self.versions += 1;
        let version = format!("..version-{}", self.versions);
        fs::create_dir(self.file(&version)).unwrap();
        fs::write(self.file(&version).join("tls.crt"), certificate).unwrap();
        fs::write(self.file(&version).join("tls.key"), key).unwrap();
        symlink(&version, self.file("..data_tmp")).unwrap();
        fs::rename(self.file("..data_tmp"), self.file("..data")).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A server without a cluster.
fn serve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vdi-metrics"));
    command.env_clear().env("KUBECONFIG", "/nonexistent").arg("serve");
    for listen in ["--listen", "--metrics-listen", "--health-listen"] {
        command.args([listen, "127.0.0.1:0"]);
    }
    command
}

fn webhook(process: &Process) -> SocketAddr {
    process.logged("server=\"webhook\"").split("address=").nth(1).unwrap().trim().parse().unwrap()
}

/// Whether the server has this certificate.
fn serves(address: SocketAddr, certificate: &Certificate) -> bool {
    certificate.get(address, "/").is_ok()
}

#[test]
fn a_swapped_link_gives_a_new_certificate_and_a_broken_pair_does_not() {
    let [old, new] = [0; 2].map(|_| Certificate::for_loopback().unwrap());
    let mut mount = Mount::of(&old);
    let process = Process::spawn(
        serve().arg("--tls-cert").arg(mount.file("tls.crt")).arg("--tls-key").arg(mount.file("tls.key")),
    );
    let address = webhook(&process);
    assert!(serves(address, &old) && !serves(address, &new));

    // The key of another certificate.
    mount.update(&fs::read(new.cert()).unwrap(), &fs::read(old.key()).unwrap());
    let line = process.logged("the previous certificate stays in use");
    assert!(line.contains("tls.key") && line.contains("does not match"), "{line}");
    assert!(serves(address, &old));

    mount.update(&fs::read(new.cert()).unwrap(), &fs::read(new.key()).unwrap());
    eventually("the new certificate", || serves(address, &new).then_some(()));
    assert!(!serves(address, &old));
    assert_eq!(process.log().matches("the previous certificate stays in use").count(), 1, "logged once");
}

#[test]
fn the_key_and_the_chain_can_be_in_one_file() {
    let certificate = Certificate::for_loopback().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, [fs::read(certificate.key()).unwrap(), fs::read(certificate.cert()).unwrap()].concat())
        .unwrap();
    let process = Process::spawn(serve().arg("--tls-cert").arg(file.path()));
    assert!(serves(webhook(&process), &certificate));
}

#[test]
fn without_a_cluster_and_without_files_the_server_ends_with_the_remedy() {
    let output = serve().output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("cannot sign in to a cluster; give --tls-cert and --tls-key"), "{log}");
}
