//! A program of this package as a child process. Its log is collected, its address is read from the log, and it is killed on
//! drop.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "only tests use this module, and they fail by panicking"
)]

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// A running program. When this value is dropped, the program is killed; if the test has failed, its log is printed.
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

/// Long enough for every expected event on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Calls `probe` until it returns a value.
///
/// # Panics
/// When it has returned none after 20 seconds. `what` names the expected event.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {TIMEOUT:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

// === impl Process ===

impl Process {
    /// Starts `command` and reads its standard error, which has the log.
    ///
    /// # Panics
    /// When the program cannot be started.
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
    /// When no such line is logged within 20 seconds, or the program ends first.
    pub fn logged(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// The address after ` address=` in the first log line that has one.
    ///
    /// # Panics
    /// In the cases of [`Self::logged`].
    pub fn address(&self) -> SocketAddr {
        let line = self.logged(" address=");
        let address = line.split(" address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.text.lock().unwrap().lines.join("\n")
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all threads that run, in microseconds, as the scheduler counts it.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn cpu_us(&self) -> io::Result<f64> {
        let mut sum = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
            let nanoseconds = schedstat.split(' ').next().and_then(|text| text.parse::<f64>().ok());
            sum += nanoseconds.ok_or_else(|| io::Error::other(schedstat.clone()))? / 1e3;
        }
        Ok(sum)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the program has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends SIGTERM and waits for the end. Returns the exit status and the time until the end.
    ///
    /// # Panics
    /// When the program still runs after 20 seconds.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let sent = Instant::now();
        self.signal(Signal::TERM);
        let status = eventually("the program's end", || self.child.try_wait().unwrap());
        (status, sent.elapsed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the program has already ended.
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
        let matching = |log: &LogText| log.lines.iter().find(|line| line.contains(text)).cloned();
        let waiting = |log: &mut LogText| matching(log).is_none() && !log.ended;
        let (log, _) = self.grown.wait_timeout_while(self.text.lock().unwrap(), TIMEOUT, waiting).unwrap();
        let line = matching(&log);
        // The lock is released first, because a panic drops the process, which then prints its log.
        drop(log);
        line.unwrap_or_else(|| panic!("the program did not log {text:?}"))
    }
}
