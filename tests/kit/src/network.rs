//! Network namespaces: a pod with its own network, and a machine outside of it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "only tests use this module, and they fail by panicking"
)]

pub mod control_group;
pub mod many_connections;
pub mod slow_line;

use std::{
    fs::{self, File},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use rustix::{
    process::geteuid,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// A network namespace. It exists as long as this value. If the test is killed, it ends too, because its process reads from a pipe.
#[derive(Debug)]
pub struct NetworkNamespace {
    holder: Child,
}

/// Two namespaces with a cable between them.
#[derive(Debug)]
pub struct PodNetwork {
    /// The network of the pod.
    pub pod: NetworkNamespace,
    /// A machine outside of the pod.
    pub outside: NetworkNamespace,
}

/// A program that starts another program without netlink sockets.
const DENY_NETLINK: &str = include_str!("network/deny_netlink.c");

/// Compiles the program `deny_netlink` into this folder. Its arguments are an error number, a program, and the arguments of that program.
///
/// # Panics
/// If there is no C compiler.
pub fn deny_netlink(folder: &Path) -> PathBuf {
    compile(folder, "deny_netlink", DENY_NETLINK)
}

/// Compiles a C program in this folder.
pub(crate) fn compile(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (source, program) = (folder.join(name).with_extension("c"), folder.join(name));
    fs::write(&source, text).unwrap();
    let output = Command::new("cc").arg("-O2").arg("-o").arg(&program).arg(&source).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Starts a program that ends with its standard input, and waits until it prints `ready`.
pub(crate) fn start_until_ready(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut ready = [0; 6];
    let stdout = child.stdout.as_mut().unwrap();
    std::io::Read::read_exact(stdout, &mut ready).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child
}

/// The addresses of the pod.
pub const POD: [&str; 2] = ["10.77.0.1", "fd77::1"];
/// The addresses of the machine outside of the pod.
pub const OUTSIDE: [&str; 2] = ["10.77.0.2", "fd77::2"];

// === impl PodNetwork ===

impl PodNetwork {
    /// Creates both namespaces. Returns none, with a line on standard error, if this process is not root.
    ///
    /// # Panics
    /// If this process is not root and `REQUIRE_CLUSTER` is 1, as in CI, or if the namespaces cannot be created.
    pub fn create() -> Option<Self> {
        if !geteuid().is_root() {
            let message = "tests with a network namespace not run: they need root";
            assert!(std::env::var_os("REQUIRE_CLUSTER").is_none_or(|value| value != "1"), "{message}");
            eprintln!("{message}");
            return None;
        }
        let (pod, outside) = (NetworkNamespace::create(), NetworkNamespace::create());
        let peer = outside.holder.id().to_string();
        pod.run(&[
            "ip", "link", "add", "name", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &peer,
        ]);
        pod.configure(POD);
        outside.configure(OUTSIDE);
        Some(Self { pod, outside })
    }
}

// === impl NetworkNamespace ===

impl NetworkNamespace {
    /// Creates a namespace without a connection.
    ///
    /// # Panics
    /// If this process is not root.
    pub fn create() -> Self {
        let mut command = Command::new("unshare");
        // The program prints a line after it has entered the namespace.
        command.args(["--net", "sh", "-c", "echo ready; exec cat"]);
        Self { holder: start_until_ready(&mut command) }
    }

    fn configure(&self, addresses: [&str; 2]) {
        self.run(&["ip", "link", "set", "lo", "up"]);
        self.run(&["ip", "address", "add", &format!("{}/24", addresses[0]), "dev", "eth0"]);
        // Without `nodad` the address cannot be used for a second.
        self.run(&["ip", "address", "add", &format!("{}/64", addresses[1]), "dev", "eth0", "nodad"]);
        self.run(&["ip", "link", "set", "eth0", "up"]);
    }

    /// ID of a process in the namespace.
    pub(crate) fn process(&self) -> u32 {
        self.holder.id()
    }

    /// Runs a command in the namespace.
    ///
    /// # Panics
    /// When the command fails.
    pub fn run(&self, command: &[&str]) {
        let output = self.inside(|| Command::new(command[0]).args(&command[1..]).output().unwrap());
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Calls `f` in a thread that is in the namespace. Sockets that it creates, and processes that it starts, stay there.
    ///
    /// # Panics
    /// When `f` panics.
    pub fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        let enter = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            f()
        };
        thread::scope(|scope| scope.spawn(enter).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
