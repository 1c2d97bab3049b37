//! Linux namespaces for a test run. Its ports, mounts and processes do not collide with others and end with the run.
//!
//! The test binary starts itself twice. The user starts the first process, which only waits. The second is
//! the supervisor: it creates the folder and the control groups and removes them. The third is process 1 of new mount, PID
//! and network namespaces and runs the tests. When it ends or is killed, the kernel ends every process in the namespaces.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

use super::assets::PROBE;
use super::process::output;
use super::role::{ROLE, Role, SUPERVISOR};
use super::workdir::{Workdir, cgroups};

/// The bridge of the pods. Its first address is the address of the node and of the API server.
pub(in crate::cluster) const BRIDGE: &str = "testbed0";
/// The node's address, and the pods' gateway.
pub(in crate::cluster) const NODE_ADDRESS: &str = "10.88.0.1";
/// The first address of the Service range. Pods use it for the API server. It is on `lo`, because there is no kube-proxy.
pub(in crate::cluster) const SERVICE_ADDRESS: &str = "10.96.0.1";

/// Runs `inside` in new namespaces and returns its exit code.
///
/// Call this function first in `main`: the process starts itself again with the same arguments.
///
/// # Errors
/// When the namespaces cannot be created. [`missing_requirement`] reports in advance what is missing.
pub fn isolated(inside: impl FnOnce() -> ExitCode) -> Result<ExitCode> {
    match Role::of_this_process() {
        Role::First => block_on(wait_for_supervisor()),
        Role::Supervisor => block_on(supervise()),
        Role::Isolated(dir) => {
            std::thread::spawn(exit_with_input);
            set_up_namespaces(&dir)?;
            Ok(inside())
        }
    }
}

/// Requirement of [`isolated`] that this machine does not meet, in one sentence.
#[must_use]
pub fn missing_requirement() -> Option<String> {
    let runs = |command: &str, args: &[&str]| {
        Command::new(command).args(args).output().is_ok_and(|o| o.status.success())
    };
    let tools =
        [("ip", "-Version"), ("setpriv", "--version"), ("unshare", "--version"), ("mount", "--version")];
    if let Some((tool, _)) = tools.into_iter().find(|(tool, version)| !runs(tool, &[version])) {
        return Some(format!(
            "a node needs the program {tool} (Debian: apt-get install iproute2 mount util-linux)"
        ));
    }
    if !Path::new(PROBE).exists() {
        return Some(
            "building the test pods' program needs a static glibc (Fedora: dnf install glibc-static)"
                .to_owned(),
        );
    }
    let allowed = runs("unshare", &["--mount", "--pid", "--net", "--fork", "ip", "link", "set", "lo", "up"]);
    (!allowed).then(|| "a node needs root, with the right to create namespaces".to_owned())
}

async fn wait_for_supervisor() -> Result<ExitCode> {
    let mut supervisor = restarted(tokio::process::Command::new(std::env::current_exe()?), SUPERVISOR)
        .stdin(Stdio::piped())
        .spawn()
        .context("starting the supervisor")?;
    let lifeline = supervisor.stdin.take();
    tokio::select! {
        status = supervisor.wait() => return Ok(exit_code(status?)),
        () = end_signal() => {}
    }
    drop(lifeline);
    supervisor.wait().await?;
    Ok(ExitCode::from(INTERRUPTED))
}

/// Cleans up after the tests, however they end. The pipe from the first process closes even if that process is killed.
async fn supervise() -> Result<ExitCode> {
    let workdir = Workdir::create()?;
    for group in workdir.path().file_name().map(|name| cgroups(&name.to_string_lossy())).unwrap_or_default() {
        fs::create_dir(&group).with_context(|| format!("creating the control group {}", group.display()))?;
    }
    let mut command = tokio::process::Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "--",
        "unshare",
        "--mount",
        "--pid",
        "--net",
        "--fork",
        "--kill-child",
    ]);
    command.args(["--mount-proc", "--propagation", "private", "--"]).arg(std::env::current_exe()?);
    let mut inside =
        restarted(command, workdir.path()).stdin(Stdio::piped()).spawn().context("starting unshare")?;
    let lifeline = inside.stdin.take();
    tokio::select! {
        status = inside.wait() => return Ok(exit_code(status?)),
        () = end_signal() => {}
        () = end_of_input() => {}
    }
    drop(lifeline);
    // unshare is not killed: it ends after the last process of its namespace, and all of them must have ended.
    inside.wait().await?;
    Ok(ExitCode::from(INTERRUPTED))
}

/// The command that starts this program again, with the same arguments, in another role.
fn restarted(
    mut command: tokio::process::Command,
    role: impl AsRef<std::ffi::OsStr>,
) -> tokio::process::Command {
    command.args(std::env::args_os().skip(1)).env(ROLE, role);
    command
}

async fn end_signal() {
    let on = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = on(SignalKind::hangup()) => {}
        () = on(SignalKind::interrupt()) => {}
        () = on(SignalKind::terminate()) => {}
    }
}

async fn end_of_input() {
    let (sender, ended) = tokio::sync::oneshot::channel();
    // A thread and not a blocking task, because the runtime waits for its blocking tasks when it ends.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        let _ = sender.send(());
    });
    let _ = ended.await;
}

#[allow(
    clippy::disallowed_methods,
    reason = "process 1 has nothing to clean up: when it ends, the kernel ends every process of the namespace"
)]
fn exit_with_input() {
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(INTERRUPTED.into());
}

/// Prepares the namespaces: private mounts over the fixed paths that servers write to, and the addresses of the network.
fn set_up_namespaces(dir: &Path) -> Result<()> {
    let hidden = PRIVATE.iter().chain(&["/run"]).any(|path| dir.starts_with(path));
    ensure!(
        !hidden,
        "the folder {} would be hidden by a private mount; set TMPDIR to a folder outside {PRIVATE:?} and /run",
        dir.display()
    );
    let state = dir.join("state");
    fs::create_dir(&state)?;
    let state = state.to_string_lossy();
    // The kubelet mounts volumes for containers: both need one propagation group, and it must end at this namespace.
    run("mount --make-rshared /")?;
    run(&format!("mount -t tmpfs -o mode=755 testbed {state}"))?;
    run("mount -t tmpfs -o mode=755 testbed /run")?;
    for path in PRIVATE {
        let (upper, work) = (format!("{state}{path}.upper"), format!("{state}{path}.work"));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        run(&format!("mount -t overlay -o lowerdir={path},upperdir={upper},workdir={work} testbed {path}"))?;
    }
    // Pods with their own user namespace need ID-mapped mounts of the kubelet's files, and overlayfs allows none.
    fs::create_dir_all(KUBELET)?;
    run(&format!("mount -t tmpfs -o mode=755 testbed {KUBELET}"))?;
    for (setting, value) in SETTINGS {
        let file = format!("{state}/{}", setting.replace('/', "."));
        fs::write(&file, value)?;
        run(&format!("mount --bind {file} /proc/sys/{setting}"))?;
    }
    // A pod with its own user namespace may mount `proc` only if its mount namespace has a `proc` of which no part is hidden
    // (`mount_too_revealing` in `fs/namespace.c` of Linux). The mounts above hide parts of the one at /proc.
    fs::create_dir(format!("{state}/proc"))?;
    run(&format!("mount -t proc testbed {state}/proc"))?;
    for command in [
        "link set lo up".to_owned(),
        format!("address add {SERVICE_ADDRESS}/32 dev lo"),
        // A bridge without a fixed MAC address uses the lowest one of its ports. It then changes when pods start and end,
        // and pods that have the old address in their ARP cache cannot reach the node for half a minute.
        format!("link add {BRIDGE} address 02:00:0a:58:00:01 type bridge"),
        format!("address add {NODE_ADDRESS}/16 dev {BRIDGE}"),
        format!("link set {BRIDGE} up"),
    ] {
        run(&format!("ip {command}"))?;
    }
    Ok(())
}

fn run(command: &str) -> Result<()> {
    let mut parts = command.split(' ');
    output(Command::new(parts.next().unwrap_or_default()).args(parts)).map(drop)
}

fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(INTERRUPTED))
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

const INTERRUPTED: u8 = 130;

/// Folders with fixed paths: kubelet, containerd and CNI write there, and Prometheus reads there at the operator's paths.
const PRIVATE: &[&str] = &["/etc", "/var/lib", "/var/log"];

/// The kubelet's folder, in one of the folders above.
const KUBELET: &str = "/var/lib/kubelet";

/// Machine-wide kernel settings that a kubelet would change. Bind mounts show the kubelet the values that it needs.
const SETTINGS: &[(&str, &str)] = &[
    ("kernel/keys/root_maxbytes", "25000000"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
];
