//! The one thread that calls NVML. It may hang in the driver for ever: then the snapshot grows old, and nothing else.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use super::{
    attribution::{Attribution, Scope, SessionDevice, Strategy, UnavailableReason},
    config::{Config, SessionNames},
    evidence::EvidenceCollector,
    pod_files::PodFiles,
    snapshot::{AttributionInfo, Collection, Gpu, Snapshot},
    termination::{TERMINATION_LOG, TerminationLog},
};
use crate::{
    gpu::{
        Driver, DriverEvent, Fault, Library, LibraryState, OpenFailure, ProcessKind, ReopenReason, Versions,
    },
    sampling::counters::{Counters, Scopes},
};

/// What the rest of the program holds of the poller.
#[derive(Debug)]
pub(super) struct Handle {
    /// The latest snapshot.
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    end: mpsc::Sender<()>,
    last_word: Arc<Mutex<TerminationLog>>,
}

/// Held by whoever has something to begin before a library may be loaded: loading stops every other thread that uses a
/// thread-local value for the first time (glibc's `dl_load_lock`), and a library can take for ever. Dropping it lets the
/// poller begin.
#[derive(Debug)]
pub(super) struct StartGate {
    _open: mpsc::Sender<()>,
}

struct Poller {
    interval: Duration,
    witness: EvidenceCollector,
    counters: Counters,
    snapshot: Snapshot,
    last_word: Arc<Mutex<TerminationLog>>,
    publish: watch::Sender<Arc<Snapshot>>,
    asked: mpsc::Receiver<()>,
    ending: bool,
    reopen: Option<ReopenReason>,
}

/// Reads as soon as all else has begun and then at every interval, until it is asked to end.
///
/// # Errors
/// Fails where the thread cannot be started.
pub(super) fn spawn(config: &Config) -> io::Result<(StartGate, Handle)> {
    let mut library = Library::new(config.nvml_library.clone());
    let container = PodFiles::new(config.root.clone());
    let first = before_the_first_read();
    let first = Snapshot {
        session: config.session.clone(),
        started: container
            .sandbox_created()
            .filter(|made| *made <= first.run_started)
            .unwrap_or(first.run_started),
        ..first
    };
    let (publish, snapshots) = watch::channel(Arc::new(first.clone()));
    let (end, asked) = mpsc::channel();
    let (open, closed) = mpsc::channel();
    let last_word =
        Arc::new(Mutex::new(TerminationLog::open(&config.root.join(TERMINATION_LOG), config.containers)));
    let mut poller = Poller {
        interval: config.interval,
        witness: EvidenceCollector::new(config, container),
        counters: Counters::new(config.interval),
        snapshot: first,
        last_word: Arc::clone(&last_word),
        publish,
        asked,
        ending: false,
        reopen: None,
    };
    thread::Builder::new().name("nvml-poller".to_owned()).spawn(move || {
        // An error is what it waits for: nothing is ever sent.
        let _ = closed.recv();
        while !poller.snapshot.ended {
            // What nobody has thought of must not end the polling.
            if catch_unwind(AssertUnwindSafe(|| poller.with(&mut library))).is_err() {
                tracing::error!("Reading the GPU panicked");
                poller.without(UnavailableReason::DriverError);
                poller.publish(false, Instant::now());
                poller.wait();
            }
        }
    })?;
    Ok((StartGate { _open: open }, Handle { snapshots, end, last_word }))
}

/// Nothing is known, and that is said.
pub(super) fn before_the_first_read() -> Snapshot {
    let now = SystemTime::now();
    Snapshot {
        session: SessionNames::default(),
        started: now,
        run_started: now,
        attribution: Err(UnavailableReason::Starting),
        not_applicable: vec![],
        gpus: vec![],
        lost: vec![],
        accounts: vec![],
        collection: None,
        calls: 0,
        faults: vec![],
        clamped: vec![],
        versions: Versions::default(),
        ended: false,
    }
}

/// 90 to 110 % of the interval, so that the sidecars of one card drift apart. The driver serialises their calls.
fn jittered(interval: Duration) -> Duration {
    // The standard library's only source of randomness; a fresh one at each call.
    let random = RandomState::new().hash_one(()) % 1000;
    interval.mul_f64(0.9 + 0.2 * (random as f64 / 1000.0))
}

// === impl Handle ===

impl Handle {
    /// Has the GPU read once more and the last word written, and waits for that as long as it is worth it: whoever ends the
    /// session waits for us.
    pub(super) async fn end(mut self) {
        // It fails only where the poller is gone.
        let _ = self.end.send(());
        let last = self.snapshots.wait_for(|snapshot| snapshot.ended);
        if !matches!(tokio::time::timeout(LONGEST_END, last).await, Ok(Ok(_))) {
            let mut snapshot = Snapshot { ended: true, ..Snapshot::clone(&self.snapshots.borrow()) };
            snapshot.accounts.iter_mut().for_each(|account| account.hold_on(Instant::now()));
            let mut last_word = self.last_word.lock().unwrap_or_else(PoisonError::into_inner);
            last_word.write(&snapshot, SystemTime::now());
        }
    }
}

/// A read takes milliseconds, or for ever where the driver hangs; then what was written before stands.
const LONGEST_END: Duration = Duration::from_millis(500);

// === impl Poller ===

impl Poller {
    /// Lives with the library until it has to be opened anew.
    fn with(&mut self, library: &mut Library) {
        let began = Instant::now();
        let opened = match library.open() {
            Ok(opened) => opened,
            Err(OpenFailure { fault, is_new }) => {
                if is_new {
                    self.counters.asked(1, &[fault]);
                }
                self.without(fault.into());
                self.publish(false, began);
                return self.wait();
            }
        };
        let Some(mut driver) = opened.driver() else { return self.wait() };
        self.snapshot.versions = driver.versions().clone();
        let mut began = began;
        loop {
            let success = self.poll(&mut driver);
            let calls = driver.end_poll();
            let outcome = library.end_poll(&calls, self.reopen.take());
            self.counters.asked(calls.calls, &calls.faults);
            self.publish(success, began);
            if self.snapshot.ended {
                // The process ends beside us, and closing a library can hang as any call of it.
                std::mem::forget(driver);
                std::mem::forget(opened);
                return;
            }
            if outcome == LibraryState::MustReopen {
                drop(driver);
                drop(opened);
                return self.wait();
            }
            self.listen(&mut driver);
            began = Instant::now();
        }
    }

    /// Sleeps to the next read, or until somebody asks for the end.
    fn wait(&mut self) {
        self.ending |= !self.snapshot.ended && is_asked(&self.asked, jittered(self.interval));
    }

    /// The same with a driver to listen to.
    fn listen(&mut self, driver: &mut Driver<'_>) {
        let until = Instant::now() + jittered(self.interval);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.ending {
                return;
            }
            let stop_within = match driver.wait_for_event(left) {
                DriverEvent::Xid(event) => {
                    event.devices.iter().for_each(|gpu| self.counters.reported(gpu, event.code));
                    Duration::ZERO
                }
                DriverEvent::None => Duration::ZERO,
                DriverEvent::NotListening => left,
            };
            self.ending |= is_asked(&self.asked, stop_within);
        }
    }

    /// One read with an open library: whether each of the session's devices gave every value that it supports.
    fn poll(&mut self, driver: &mut Driver<'_>) -> bool {
        if let Err(fault) = driver.begin_poll() {
            self.without(fault.into());
            return false;
        }
        let verdict = self.witness.verdict(driver);
        let missing = self.missing(driver);
        match (verdict.outcome, missing.first()) {
            (Ok(found), _) => {
                self.snapshot.not_applicable = verdict.not_applicable;
                return self.read_all(driver, found, missing);
            }
            // What evidence there is speaks of one that cannot be seen for now.
            (Err(_), Some((_, reason))) => self.show_none(*reason),
            (Err(reason), None) => {
                let is_unseen = matches!(reason, UnavailableReason::NotVisible | UnavailableReason::NoDevice)
                    && !driver.without_uuid().is_empty();
                self.show_none(if is_unseen { why_missing(driver) } else { reason });
                self.snapshot.not_applicable = verdict.not_applicable;
            }
        }
        if !missing.is_empty() || self.witness.is_told() {
            self.reopen = Some(ReopenReason::NotVisible);
        }
        self.hold(&[], &[], &missing);
        false
    }

    fn read_all(
        &mut self,
        driver: &mut Driver<'_>,
        found: Attribution,
        missing: Vec<(String, UnavailableReason)>,
    ) -> bool {
        let known =
            AttributionInfo { strategy: found.strategy, scope: found.scope(), confidence: found.confidence };
        let visible: Vec<&str> =
            found.devices.iter().map(|ours| driver.devices()[ours.index].uuid.as_str()).collect();
        match known.scope {
            Scope::Node => self.hold(&[], &visible, &missing),
            _ => self.hold(&visible, &[], &missing),
        }
        self.snapshot.gpus.clear();
        let never_seen = self.never_seen(driver, known.strategy, &missing);
        if !missing.is_empty() || !never_seen.is_empty() {
            self.reopen = Some(ReopenReason::NotVisible);
        }
        self.snapshot.lost = missing;
        let before = driver.faults().len();
        for ours in found.devices {
            match self.read(driver, ours) {
                Ok(gpu) => self.snapshot.gpus.push(gpu),
                Err(fault) => {
                    let uuid = driver.devices()[ours.index].uuid.clone();
                    self.counters.missed(&uuid);
                    self.snapshot.lost.push((uuid, fault.into()));
                }
            }
        }
        self.snapshot.lost.extend(never_seen);
        match &self.snapshot.lost[..] {
            [(_, reason), ..] if self.snapshot.gpus.is_empty() => {
                let reason = *reason;
                self.snapshot.lost.clear();
                self.attribute(Err(reason));
            }
            _ => self.attribute(Ok(known)),
        }
        self.snapshot.lost.is_empty()
            && !self.snapshot.gpus.is_empty()
            && driver.faults()[before..].iter().all(|fault| fault.is_permanent())
    }

    fn hold(&mut self, ours: &[&str], shown: &[&str], missing: &[(String, UnavailableReason)]) {
        let missing: Vec<&str> = missing.iter().map(|(uuid, _)| uuid.as_str()).collect();
        self.counters.hold(&[ours, &missing].concat(), shown, Instant::now());
        for gpu in missing {
            self.counters.missed(gpu);
        }
    }

    /// The session's devices that the driver does not name any more.
    fn missing(&self, driver: &Driver<'_>) -> Vec<(String, UnavailableReason)> {
        let missing = self.counters.held().filter(|uuid| {
            !driver.devices().iter().any(|device| device.uuid == *uuid) && self.witness.misses(uuid, driver)
        });
        missing.map(|uuid| (uuid.to_owned(), why_missing(driver))).collect()
    }

    /// Devices that are named and were never visible; and of a claim one that has no name, because all that is visible by it
    /// is the session's.
    fn never_seen(
        &self,
        driver: &Driver<'_>,
        by: Strategy,
        missing: &[(String, UnavailableReason)],
    ) -> Vec<(String, UnavailableReason)> {
        if !matches!(by, Strategy::Claim | Strategy::Annotation) {
            return vec![];
        }
        let is_new = |uuid: &&str| missing.iter().all(|(known, _)| !known.eq_ignore_ascii_case(uuid));
        let named = self.witness.named_in_vain(driver).into_iter().filter(is_new);
        let mut found: Vec<_> = named.map(|uuid| (uuid.to_owned(), why_missing(driver))).collect();
        if by == Strategy::Claim
            && !self.witness.is_told()
            && missing.is_empty()
            && !driver.without_uuid().is_empty()
        {
            found.push((String::new(), why_missing(driver)));
        }
        found
    }

    fn read(&mut self, driver: &mut Driver<'_>, ours: SessionDevice) -> Result<Gpu, Fault> {
        let device = driver.devices()[ours.index].clone();
        let (tick, share) = self.counters.since(&device.uuid);
        let reading = driver.read(ours.index, tick)?;
        let own = self.witness.own(driver, ours, share)?;
        let scopes = Scopes { device: ours.scope, card: ours.card_scope(&device) };
        let shown = self.counters.read(&device.uuid, scopes, &reading, own.as_ref(), Instant::now());
        let processes = own.map(|own| {
            [ProcessKind::Compute, ProcessKind::Graphics]
                .map(|kind| (kind, own.processes.iter().filter(|(_, known)| *known == kind).count()))
        });
        Ok(Gpu { device, ours, reading, shown, processes })
    }

    /// The driver says nothing: what was the session's still is, as far as we know.
    fn without(&mut self, reason: UnavailableReason) {
        self.counters.hold_on(Instant::now());
        self.show_none(reason);
    }

    fn show_none(&mut self, reason: UnavailableReason) {
        self.snapshot.not_applicable.clear();
        self.snapshot.gpus.clear();
        self.snapshot.lost.clear();
        self.attribute(Err(reason));
    }

    fn attribute(&mut self, attribution: Result<AttributionInfo, UnavailableReason>) {
        let before = std::mem::replace(&mut self.snapshot.attribution, attribution);
        match &self.snapshot.attribution {
            after if *after == before => {}
            Ok(by) => {
                let gpus: Vec<&str> = self.snapshot.gpus.iter().map(|gpu| gpu.device.uuid.as_str()).collect();
                tracing::info!(
                    gpu = gpus.join(","),
                    strategy = by.strategy.as_str(),
                    "The session has a GPU"
                );
            }
            Err(reason) => {
                tracing::warn!(reason = reason.as_str(), "The session has no GPU that we can read");
            }
        }
    }

    fn publish(&mut self, success: bool, began: Instant) {
        let now = SystemTime::now();
        self.snapshot.accounts = self.counters.accounts().to_vec();
        self.snapshot.faults = self.counters.faults().to_vec();
        self.snapshot.clamped = self.counters.clamped().to_vec();
        self.snapshot.calls = self.counters.calls();
        self.snapshot.collection = Some(Collection { at: now, duration: began.elapsed(), success });
        self.snapshot.ended = self.ending;
        self.last_word.lock().unwrap_or_else(PoisonError::into_inner).write(&self.snapshot, now);
        self.publish.send_replace(Arc::new(self.snapshot.clone()));
    }
}

/// Where there are devices that the driver cannot name it is one of them.
fn why_missing(driver: &Driver<'_>) -> UnavailableReason {
    driver
        .without_uuid()
        .first()
        .map_or(UnavailableReason::NotVisible, |fault| UnavailableReason::from(*fault))
}

/// Whether somebody asks for the end within `time`.
fn is_asked(asked: &mpsc::Receiver<()>, time: Duration) -> bool {
    // An error of the other kind means that nobody is left to ask, which is an end as well.
    !matches!(asked.recv_timeout(time), Err(mpsc::RecvTimeoutError::Timeout))
}
