//! A server of the cluster as a child process: its log, its readiness, and its end.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::wait::eventually;

/// A running server. When this value is dropped, the server is killed and waited for.
pub(in crate::cluster) struct Server {
    name: &'static str,
    child: Mutex<Child>,
    log: PathBuf,
}

/// A command whose process is killed when the process that started it ends, for any reason.
pub(in crate::cluster) fn killed_with_parent(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Runs a command to its end and returns its standard output.
pub(in crate::cluster) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last lines of every log in a folder, each with the log's name above it.
pub(in crate::cluster) fn log_tails(logs: &Path) -> String {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(logs).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().fold(String::new(), |mut text, path| {
        let _ = writeln!(text, "--- end of {}\n{}", path.display(), tail(path));
        text
    })
}

// === impl Server ===

impl Server {
    /// Starts `command` (from [`killed_with_parent`]) with its output in `logs/NAME.log`.
    pub(in crate::cluster) fn start(name: &'static str, mut command: Command, logs: &Path) -> Result<Self> {
        let log = logs.join(name).with_extension("log");
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = spawn(command).with_context(|| format!("starting {name}"))?;
        Ok(Self { name, child: Mutex::new(child), log })
    }

    /// Waits like [`eventually`], but fails at once, with the end of the log, when the server ends first.
    pub(in crate::cluster) async fn ready<T, F>(&self, limit: Duration, probe: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        tokio::select! {
            ready = eventually(format!("{} ready", self.name), limit, probe) => {
                ready.with_context(|| format!("end of its log:\n{}", tail(&self.log)))
            }
            status = self.end() => {
                bail!("{} ended before it was ready: {status}; end of its log:\n{}", self.name, tail(&self.log))
            }
        }
    }

    /// The log file.
    pub(in crate::cluster) fn log(&self) -> &Path {
        &self.log
    }

    /// The process ID. `setpriv` becomes the program.
    pub(in crate::cluster) fn id(&self) -> u32 {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    pub(in crate::cluster) async fn end(&self) -> ExitStatus {
        loop {
            if let Ok(Some(status)) = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Spawns from one thread that runs as long as the process. The kernel sends the death signal of [`killed_with_parent`]
/// when the spawning *thread* ends, and a test's thread ends with the test.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<Sender<(Command, Sender<io::Result<Child>>)>> = LazyLock::new(|| {
        let (requests, inbox) = channel::<(Command, Sender<io::Result<Child>>)>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        requests
    });
    let (answer, child) = channel();
    let ended = || io::Error::other("the spawning thread has ended");
    SPAWNER.send((command, answer)).map_err(|_| ended())?;
    child.recv().map_err(|_| ended())?
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

const TAIL: usize = 15;
