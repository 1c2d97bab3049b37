//! Namespaces of its own for a test run: ports, mounts and processes that clash with nobody's and end with the run.
//!
//! The test binary starts itself twice. The first, which the user sees, only waits. The second, the keeper, owns the
//! folder and the control groups and removes them. The third is process 1 of new mount, PID and network namespaces
//! and runs the tests: when it ends or is killed, the kernel ends everything in there.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

use super::process::output;
use super::workdir::{Workdir, cgroups};

/// The bridge of the pods; the node and the API server have its first address.
pub(super) const BRIDGE: &str = "bed0";
/// The node's address, and the pods' gateway.
pub(super) const NODE_ADDRESS: &str = "10.88.0.1";
/// The first address of the Service range, which pods know as the API server's. On `lo`, for want of a kube-proxy.
pub(super) const SERVICE_ADDRESS: &str = "10.96.0.1";

/// Runs `inside` in namespaces of its own and gives its exit code.
///
/// Call it first thing in `main`: the process starts itself again with the same arguments.
///
/// # Errors
/// When the namespaces cannot be made; [`lacking`] says beforehand what is missing.
pub fn isolated(inside: impl FnOnce() -> ExitCode) -> Result<ExitCode> {
    match std::env::var_os(ROLE) {
        None => block_on(wait_for_keeper()),
        Some(role) if role == KEEPER => block_on(keep()),
        Some(dir) => {
            std::thread::spawn(end_with_input);
            furnish(Path::new(&dir))?;
            Ok(inside())
        }
    }
}

/// The folder of the bed whose namespaces this process is in.
pub(super) fn inside() -> Option<PathBuf> {
    std::env::var_os(ROLE).filter(|role| role != KEEPER).map(PathBuf::from)
}

/// Whether this process is the one that the user started.
#[must_use]
pub fn outside() -> bool {
    std::env::var_os(ROLE).is_none()
}

/// What this machine lacks for [`isolated`], in one sentence.
#[must_use]
pub fn lacking() -> Option<String> {
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
    if !Path::new(super::PROBE).exists() {
        return Some(
            "pods of tests need a static glibc to be built (Fedora: dnf install glibc-static)".to_owned(),
        );
    }
    let may = runs("unshare", &["--mount", "--pid", "--net", "--fork", "ip", "link", "set", "lo", "up"]);
    (!may).then(|| "a node needs root, with the right to make namespaces".to_owned())
}

async fn wait_for_keeper() -> Result<ExitCode> {
    let mut keeper = again(tokio::process::Command::new(std::env::current_exe()?), KEEPER)
        .stdin(Stdio::piped())
        .spawn()
        .context("starting the keeper")?;
    let lifeline = keeper.stdin.take();
    tokio::select! {
        status = keeper.wait() => return Ok(exit_code(status?)),
        () = asked_to_end() => {}
    }
    drop(lifeline);
    keeper.wait().await?;
    Ok(ExitCode::from(INTERRUPTED))
}

/// Cleans up after the tests, however they end: the pipe from the first process closes whatever became of that.
async fn keep() -> Result<ExitCode> {
    let workdir = Workdir::create()?;
    for group in workdir.path().file_name().map(|name| cgroups(&name.to_string_lossy())).unwrap_or_default() {
        fs::create_dir(&group).with_context(|| format!("making the control group {}", group.display()))?;
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
        again(command, workdir.path()).stdin(Stdio::piped()).spawn().context("starting unshare")?;
    let lifeline = inside.stdin.take();
    tokio::select! {
        status = inside.wait() => return Ok(exit_code(status?)),
        () = asked_to_end() => {}
        () = end_of_input() => {}
    }
    drop(lifeline);
    // Not killed: unshare ends when the last process of its namespace has, and that is what is waited for.
    inside.wait().await?;
    Ok(ExitCode::from(INTERRUPTED))
}

fn again(mut command: tokio::process::Command, role: impl AsRef<std::ffi::OsStr>) -> tokio::process::Command {
    command.args(std::env::args_os().skip(1)).env(ROLE, role);
    command
}

async fn asked_to_end() {
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
    // A thread of its own: the runtime would wait for a blocking task of its.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        let _ = sender.send(());
    });
    let _ = ended.await;
}

#[allow(
    clippy::disallowed_methods,
    reason = "process 1 has nothing to tidy: with it the kernel ends everything"
)]
fn end_with_input() {
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(INTERRUPTED.into());
}

/// Makes the namespaces habitable: what servers write to fixed places is private, and the network has its addresses.
fn furnish(dir: &Path) -> Result<()> {
    let hidden = PRIVATE.iter().chain(&["/run"]).find(|place| dir.starts_with(place));
    ensure!(
        hidden.is_none(),
        "{} will be hidden; set TMPDIR to a folder not in {PRIVATE:?} or /run",
        dir.display()
    );
    let state = dir.join("state");
    fs::create_dir(&state)?;
    let state = state.to_string_lossy();
    // The kubelet mounts volumes for containers; both see one propagation group, which ends at this namespace.
    run("mount --make-rshared /")?;
    run(&format!("mount -t tmpfs -o mode=755 bed {state}"))?;
    run("mount -t tmpfs -o mode=755 bed /run")?;
    for place in PRIVATE {
        let (upper, work) = (format!("{state}{place}.upper"), format!("{state}{place}.work"));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        run(&format!("mount -t overlay -o lowerdir={place},upperdir={upper},workdir={work} bed {place}"))?;
    }
    for (setting, value) in SETTINGS {
        let stand_in = format!("{state}/{}", setting.replace('/', "."));
        fs::write(&stand_in, value)?;
        run(&format!("mount --bind {stand_in} /proc/sys/{setting}"))?;
    }
    for command in [
        "link set lo up".to_owned(),
        format!("address add {SERVICE_ADDRESS}/32 dev lo"),
        // Without an address of its own a bridge takes the lowest of its ports', so that it changes as pods come and go,
        // and pods that know the old one are cut off for half a minute.
        format!("link add {BRIDGE} address 02:00:0a:58:00:01 type bridge"),
        format!("address add {NODE_ADDRESS}/16 dev {BRIDGE}"),
        format!("link set {BRIDGE} up"),
    ] {
        run(&format!("ip {command}"))?;
    }
    Ok(())
}

fn run(command: &str) -> Result<()> {
    let mut words = command.split(' ');
    output(Command::new(words.next().unwrap_or_default()).args(words)).map(drop)
}

fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(INTERRUPTED))
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

const ROLE: &str = "VDI_METRICS_BED";
const KEEPER: &str = "keeper";
const INTERRUPTED: u8 = 130;

/// Where kubelet, containerd and CNI write at paths of their own choice, and Prometheus reads at the operator's.
const PRIVATE: &[&str] = &["/etc", "/var/lib", "/var/log"];

/// Settings of the whole machine that a kubelet would change; it sees them set as it wants.
const SETTINGS: &[(&str, &str)] = &[
    ("kernel/keys/root_maxbytes", "25000000"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
];
