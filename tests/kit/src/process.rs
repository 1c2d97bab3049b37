//! A program of the package as a child: its log is kept, its address is found in the log, and it is killed on drop.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use it, and they fail by panicking")]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A running program. Dropping it kills it and shows its log where the test failed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    text: Mutex<LogText>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct LogText {
    lines: Vec<String>,
    ended: bool,
}

/// What takes longer than this on a busy machine does not happen at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls `probe` until it gives something.
///
/// # Panics
/// When that has not happened after 20 seconds: `what` was waited for.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

// === impl Process ===

impl Process {
    /// Starts `command` and reads its standard error, where our programs log.
    ///
    /// # Panics
    /// Where the program cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let log = Arc::new(Log::default());
        let (stderr, sink) = (child.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || sink.fill(BufReader::new(stderr)));
        Self { child, log }
    }

    /// The first log line that contains `text`.
    ///
    /// # Panics
    /// When it has not come after 20 seconds, or the program ended without it.
    pub fn logged(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// The address after ` address=` in the first log line that has one.
    ///
    /// # Panics
    /// As [`Self::logged`].
    pub fn address(&self) -> SocketAddr {
        let line = self.logged(" address=");
        let address = line.split(" address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.log.text.lock().unwrap().lines.join("\n")
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits for the end: its status, and how long it took.
    ///
    /// # Panics
    /// When the program still runs after 20 seconds.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = eventually("the program's end", || self.child.try_wait().unwrap());
        (status, asked.elapsed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of process {}:\n{}\n---", self.id(), self.log());
        }
    }
}

// === impl Log ===

impl Log {
    fn fill(&self, stderr: impl BufRead) {
        for line in stderr.lines().map_while(Result::ok) {
            self.text.lock().unwrap().lines.push(line);
            self.grown.notify_all();
        }
        self.text.lock().unwrap().ended = true;
        self.grown.notify_all();
    }

    fn wait_for(&self, text: &str) -> String {
        let found = |log: &LogText| log.lines.iter().find(|line| line.contains(text)).cloned();
        let waiting = |log: &mut LogText| found(log).is_none() && !log.ended;
        let (log, _) = self.grown.wait_timeout_while(self.text.lock().unwrap(), PATIENCE, waiting).unwrap();
        let found = found(&log);
        // Released first: the process shows its log on the way out of a panic.
        drop(log);
        found.unwrap_or_else(|| panic!("the program did not log {text:?}"))
    }
}
