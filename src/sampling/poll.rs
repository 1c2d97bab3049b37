//! The poll loop: opens the library, polls at every interval and waits between two polls. A [`PollTask`] does the program's
//! work at each poll.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::gpu::{
    Driver, DriverEvent, Fault, Library, LibraryState, OpenFailure, OpenLibrary, PollCalls, Released,
    ReopenReason, XidEvent,
};

/// The work of a program at each poll. The loop calls the methods.
pub trait PollTask {
    /// Result of one poll.
    type Output;

    /// Begins a poll, before the library is opened or called. If the driver is not needed, returns the result of the poll; the
    /// library is then closed, or not opened at all.
    fn begin(&mut self) -> Option<Self::Output>;

    /// Called after each opening of the library.
    fn opened(&mut self, driver: &Driver<'_>);

    /// Polls the driver. The second value is the reason to reopen the library; none if it shows everything that the program needs.
    fn poll(&mut self, driver: &mut Driver<'_>) -> (Self::Output, Option<ReopenReason>);

    /// Called instead of [`Self::poll`] while the library cannot be opened.
    fn unavailable(&mut self, fault: Fault) -> Self::Output;

    /// Publishes the result of a poll. Called once for each poll.
    fn publish(&mut self, output: Self::Output, poll: &FinishedPoll);

    /// Called between two polls when a card has reported a fault.
    fn xid(&mut self, event: &XidEvent);

    /// Whether a poll is due before the end of the interval. Called about once a second while the library is closed.
    fn is_due(&self) -> bool {
        false
    }

    /// Time that the driver's shortest buffer of samples covers; none if no buffer is full. If it is shorter than the interval,
    /// [`Self::read_samples`] is called between two polls.
    fn buffered_time(&self) -> Option<Duration> {
        None
    }

    /// Reads the samples before the driver discards them.
    fn read_samples(&mut self, _driver: &mut Driver<'_>) {}
}

/// A poll that has ended.
#[derive(Debug)]
pub struct FinishedPoll {
    /// Calls of the library in this poll, and their failures.
    pub calls: PollCalls,
    /// Time at which the poll started, before the library was opened.
    pub started: Instant,
    /// Whether the loop ends with this poll.
    pub is_last: bool,
}

/// The loop and its library.
#[derive(Debug)]
pub struct PollLoop {
    library: Library,
    interval: Duration,
    stop: mpsc::Receiver<()>,
    /// Whether a message on `stop` was received. The next poll is then the last one.
    stop_requested: bool,
    /// Whether the last poll has been published.
    is_over: bool,
    /// What the last poll has left if it has released slices.
    released: Option<Released>,
}

/// Part of the buffered time after which the samples are read again. The rest is for polls that are late.
const READ_AFTER: f64 = 0.9;

/// Minimum time between two reads of the samples. A shorter buffer loses samples.
const MIN_READ_PAUSE: f64 = 1.0;

/// Number of equal parts into which the time until the next poll is divided. After each part except the last, the samples are
/// read.
fn parts(interval: Duration, buffered: Option<Duration>) -> u32 {
    let parts = |buffered: Duration| {
        let pause = (buffered.as_secs_f64() * READ_AFTER).max(MIN_READ_PAUSE);
        (interval.as_secs_f64() / pause).ceil().max(1.0) as u32
    };
    buffered.map_or(1, parts)
}

/// Time between two checks whether a poll is due early.
const CHECK_PAUSE: Duration = Duration::from_secs(1);

/// Time that the driver needs to report a fault.
const EVENT_DELAY: Duration = Duration::from_millis(20);

/// Maximum time for the events that wait in the driver when the library is closed. The last poll of a session has 0.5 s.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Hands over the events that wait in the driver: the poll itself can cause a fault, and closing the library discards them.
fn drain_events(driver: &mut Driver<'_>, task: &mut impl PollTask) {
    let end = Instant::now() + DRAIN_TIMEOUT;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        match driver.wait_for_event(left.min(EVENT_DELAY)) {
            DriverEvent::Xid(event) => task.xid(&event),
            DriverEvent::None | DriverEvent::NotListening => return,
        }
    }
}

/// A random time of 90 to 110 % of the interval. Otherwise the sidecars of one card could always poll at the same time and
/// wait for each other, because the driver serialises calls.
fn jittered(interval: Duration) -> Duration {
    // The standard library has no other source of randomness. Each call of `new` gives another value.
    let random = RandomState::new().hash_one(()) % 1000;
    interval.mul_f64(0.9 + 0.2 * (random as f64 / 1000.0))
}

// === impl PollLoop ===

impl PollLoop {
    /// Creates a loop for the library at the first of these locations that has one. A message on `stop` requests one last poll; a
    /// dropped sender does the same.
    #[must_use]
    pub fn new(library: Vec<PathBuf>, interval: Duration, stop: mpsc::Receiver<()>) -> Self {
        Self {
            library: Library::new(library),
            interval,
            stop,
            stop_requested: false,
            is_over: false,
            released: None,
        }
    }

    /// Whether the last poll has been published.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Opens the library and polls until the library must be closed or the loop is over. Then waits for the time of the next
    /// poll. If slices were released, the next call waits instead, with the library open. Call this until [`Self::is_over`].
    pub fn run(&mut self, task: &mut impl PollTask) {
        let started = Instant::now();
        let released = self.released.take();
        match if released.is_none() { task.begin() } else { None } {
            None => self.open_and_run(started, released, task),
            Some(output) => self.publish(task, output, PollCalls::default(), started),
        }
        if self.released.is_none() {
            self.wait(task);
        }
    }

    fn open_and_run(&mut self, started: Instant, released: Option<Released>, task: &mut impl PollTask) {
        match self.library.open() {
            Ok(library) => self.run_with(library, started, released, task),
            Err(OpenFailure { fault, is_new }) => {
                let output = task.unavailable(fault);
                let calls =
                    if is_new { PollCalls { calls: 1, faults: vec![fault] } } else { PollCalls::default() };
                self.publish(task, output, calls, started);
            }
        }
    }

    /// Runs until the loop is over. A panic ends only its poll: `after_panic` gives the result of that poll.
    pub fn run_until_over<T: PollTask>(&mut self, task: &mut T, after_panic: impl Fn(&mut T) -> T::Output) {
        while !self.is_over {
            if catch_unwind(AssertUnwindSafe(|| self.run(task))).is_err() {
                tracing::error!("A poll panicked; polling continues");
                let output = after_panic(task);
                self.abandon_poll(task, output);
            }
        }
    }

    /// Ends a poll that panicked: publishes `output` instead of its result, and waits for the time of the next poll.
    pub fn abandon_poll<T: PollTask>(&mut self, task: &mut T, output: T::Output) {
        self.publish(task, output, PollCalls::default(), Instant::now());
        self.wait(task);
    }

    fn run_with(
        &mut self,
        library: OpenLibrary,
        started: Instant,
        released: Option<Released>,
        task: &mut impl PollTask,
    ) {
        let is_due = released.is_none();
        let Some(mut driver) = library.driver(released) else { return };
        task.opened(&driver);
        let started = if is_due { Some(started) } else { self.wait_and_begin(&mut driver, task) };
        if let Some(started) = started {
            self.poll_until_close(&mut driver, started, task);
        }
        if self.is_over {
            // The process is ending. Closing the library can hang like any other call, so the library stays open.
            std::mem::forget(driver);
            std::mem::forget(library);
        }
    }

    fn poll_until_close(&mut self, driver: &mut Driver<'_>, started: Instant, task: &mut impl PollTask) {
        let mut due = Some(started);
        while let Some(started) = due {
            let (output, reopen) = task.poll(driver);
            let calls = driver.end_poll();
            let is_closing = self.library.end_poll(&calls, reopen) == LibraryState::MustReopen;
            if is_closing || self.stop_requested {
                drain_events(driver, task);
            }
            self.publish(task, output, calls, started);
            if is_closing || self.is_over {
                return;
            }
            if driver.has_slices() {
                drain_events(driver, task);
                self.released = Some(driver.release_slices());
                return;
            }
            due = self.wait_and_begin(driver, task);
        }
    }

    /// Waits until the next poll is due and begins it. Returns its start; none if the poll has ended, because it does not need
    /// the driver.
    fn wait_and_begin(&mut self, driver: &mut Driver<'_>, task: &mut impl PollTask) -> Option<Instant> {
        self.wait_with_driver(driver, task);
        let started = Instant::now();
        let Some(output) = task.begin() else { return Some(started) };
        self.publish(task, output, driver.end_poll(), started);
        None
    }

    fn publish<T: PollTask>(&mut self, task: &mut T, output: T::Output, calls: PollCalls, started: Instant) {
        task.publish(output, &FinishedPoll { calls, started, is_last: self.stop_requested });
        self.is_over = self.stop_requested;
    }

    /// Waits until the next poll is due or a stop is requested.
    fn wait(&mut self, task: &impl PollTask) {
        let end = Instant::now() + jittered(self.interval);
        while !self.is_over && !self.stop_requested {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.stop_requested |=
                self.is_stop_requested_within(left.min(CHECK_PAUSE).min(self.interval / 4));
            if task.is_due() {
                return;
            }
        }
    }

    /// Like [`Self::wait`], but receives events of the driver in the meantime, and reads samples that the driver would discard.
    fn wait_with_driver(&mut self, driver: &mut Driver<'_>, task: &mut impl PollTask) {
        let interval = jittered(self.interval);
        let parts = parts(interval, task.buffered_time());
        for part in 0..parts {
            if part > 0 && !self.stop_requested {
                task.read_samples(driver);
            }
            self.wait_for_events(interval / parts, driver, task);
        }
    }

    /// Waits for events of the driver: faults of the cards.
    fn wait_for_events(&mut self, time: Duration, driver: &mut Driver<'_>, task: &mut impl PollTask) {
        let end = Instant::now() + time;
        while !self.stop_requested {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let wait = match driver.wait_for_event(left) {
                DriverEvent::Xid(event) => {
                    task.xid(&event);
                    Duration::ZERO
                }
                DriverEvent::None => Duration::ZERO,
                DriverEvent::NotListening => left,
            };
            self.stop_requested |= self.is_stop_requested_within(wait);
        }
    }

    fn is_stop_requested_within(&self, time: Duration) -> bool {
        // If the sender is dropped, the program is ending, so this is a request to stop too.
        !matches!(self.stop.recv_timeout(time), Err(mpsc::RecvTimeoutError::Timeout))
    }
}

#[cfg(test)]
mod tests;
