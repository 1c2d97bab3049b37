//! The poller: the only thread that calls NVML. If a call hangs in the driver, the rest of the sidecar goes on and exposes the
//! latest snapshot.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use super::{
    attribution::UnavailableReason,
    config::{Config, SessionNames},
    evidence::EvidenceCollector,
    pod_files::PodFiles,
    snapshot::{Collection, Snapshot},
    source::ObservationSource,
    termination::{TERMINATION_LOG, TerminationLog},
    track::{Publication, Track},
};
use crate::{
    gpu::{self, Driver, Fault, ReopenReason, Versions, XidEvent},
    presence::PresenceSnapshot,
    sampling::{
        counters::Account,
        poll::{FinishedPoll, PollLoop, PollTask},
    },
};

/// Gives the rest of the program access to the poller.
#[derive(Debug)]
pub(super) struct Handle {
    /// The latest snapshot.
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    presence: watch::Receiver<Arc<PresenceSnapshot>>,
    stop: mpsc::Sender<()>,
    termination_log: Arc<Mutex<TerminationLog>>,
}

/// Stops the poller from loading a library until the gate is dropped. The rest of the program starts first and then drops the
/// gate. The reason: loading can hang, and meanwhile every other thread that uses a thread-local value for the first time
/// waits (glibc's `dl_load_lock`).
#[derive(Debug)]
pub(super) struct StartGate {
    _open: mpsc::Sender<()>,
}

/// The sidecar's work at each poll.
struct SessionPoller {
    source: ObservationSource,
    track: Track,
    versions: Versions,
    termination_log: Arc<Mutex<TerminationLog>>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    presence: watch::Receiver<Arc<PresenceSnapshot>>,
    /// Maximum age of what is known about viewers.
    max_presence_age: Duration,
}

/// Timeout of the last poll. A poll usually takes milliseconds. If the driver hangs, the termination message is written from
/// the latest snapshot.
const LAST_POLL_TIMEOUT: Duration = Duration::from_millis(500);

/// Starts the poller's thread. The first poll begins when the gate is dropped. Then a poll follows at every interval until
/// [`Handle::end`]. `presence` has the viewers of the desktop.
///
/// # Errors
/// Fails if the thread cannot be started.
pub(super) fn spawn(
    config: &Config,
    presence: watch::Receiver<Arc<PresenceSnapshot>>,
) -> io::Result<(StartGate, Handle)> {
    let files = PodFiles::new(config.root.clone());
    let now = SystemTime::now();
    let created = files.sandbox_created().unwrap_or_else(|unreadable| {
        tracing::warn!(error = %unreadable, "Cannot read the start of the session; the start of the sidecar is used");
        None
    });
    let started = created.filter(|created| *created <= now).unwrap_or(now);
    let first = Snapshot::before_the_first_poll(config.session.clone(), started, now);
    let termination_log = TerminationLog::new(config.root.join(TERMINATION_LOG), config.containers);
    let termination_log = Arc::new(Mutex::new(termination_log));
    let (sender, snapshots) = watch::channel(Arc::new(first));
    let (stop, stop_requests) = mpsc::channel();
    let (gate, opened) = mpsc::channel();
    let named = config.nvml_library.clone().map(|library| vec![library]);
    let library = named.unwrap_or_else(|| gpu::library_locations(&config.root));
    let mut polls = PollLoop::new(library, config.interval, stop_requests);
    let mut poller = SessionPoller {
        source: ObservationSource::new(EvidenceCollector::new(config, files)),
        track: Track::new(config.interval),
        versions: Versions::default(),
        termination_log: Arc::clone(&termination_log),
        snapshots: sender,
        presence: presence.clone(),
        max_presence_age: 2 * config.interval,
    };
    thread::Builder::new().name("nvml-poller".to_owned()).spawn(move || {
        // The gate sends no message. It is dropped when the rest of the program has started, and `recv` returns an error.
        let _: Result<(), _> = opened.recv();
        polls.run_until_over(&mut poller, |poller| poller.driver_unavailable(UnavailableReason::DriverError));
    })?;
    Ok((StartGate { _open: gate }, Handle { snapshots, presence, stop, termination_log }))
}

// === impl Handle ===

impl Handle {
    /// Requests one last poll, which writes the termination message, and waits for it. The wait has a timeout, because the pod
    /// cannot end before the sidecar: after [`LAST_POLL_TIMEOUT`] this function writes the message itself.
    pub(super) async fn end(mut self) {
        // This fails only if the poller's thread has ended.
        let _ = self.stop.send(());
        let last = self.snapshots.wait_for(|snapshot| snapshot.ended);
        if !matches!(tokio::time::timeout(LAST_POLL_TIMEOUT, last).await, Ok(Ok(_))) {
            let snapshot = end_without_poll(&self.snapshots.borrow());
            let mut termination_log = self.termination_log.lock().unwrap_or_else(PoisonError::into_inner);
            termination_log.write(&snapshot, &self.presence.borrow(), SystemTime::now());
        }
    }
}

/// A snapshot for the termination message if the last poll hangs: the totals of the latest snapshot, with the allocated time
/// counted up to now.
fn end_without_poll(latest: &Snapshot) -> Snapshot {
    let mut accounts = latest.accounts.clone();
    accounts.iter_mut().for_each(|account| account.carry_over(Instant::now()));
    let first = Snapshot::before_the_first_poll(SessionNames::default(), latest.started, latest.run_started);
    Snapshot { attribution: latest.attribution, accounts, ended: true, ..first }
}

// === impl SessionPoller ===

impl SessionPoller {
    /// Whether a viewer is connected to the desktop now; none if it is not known.
    fn has_viewer(&self) -> Option<bool> {
        self.presence.borrow().has_viewer(Instant::now(), self.max_presence_age)
    }

    /// Publishes that no device can be read. The devices of the session stay allocated, and their time is unsampled.
    fn driver_unavailable(&mut self, reason: UnavailableReason) -> Publication {
        let lost = self.source.has_lost_node_agent().then_some(UnavailableReason::NodeAgentLost);
        let expected = self.source.expected();
        let publication = self.track.driver_unavailable(lost.unwrap_or(reason), expected, Instant::now());
        let not_applicable = self.source.reason_of_node_agent().into_iter().collect();
        Publication { not_applicable, ..publication }
    }

    fn snapshot(&self, publication: Publication, poll: &FinishedPoll, now: SystemTime) -> Snapshot {
        let Publication { attribution, not_applicable, gpus, lost, is_complete, .. } = publication;
        let earlier = self.snapshots.borrow();
        let totals = self.track.totals().clone();
        Snapshot {
            session: earlier.session.clone(),
            started: earlier.started,
            run_started: earlier.run_started,
            attribution,
            not_applicable,
            gpus,
            lost,
            unassigned: self.source.unassigned(),
            accounts: self.track.accounts().to_vec(),
            collection: Some(Collection {
                at: now,
                duration: poll.started.elapsed(),
                success: is_complete && self.source.failures().are_none(),
            }),
            calls: totals.calls,
            faults: totals.faults,
            clamped: totals.clamped,
            unreadable: self.source.failures().counts().to_vec(),
            versions: self.versions.clone(),
            ended: poll.is_last,
        }
    }
}

impl PollTask for SessionPoller {
    type Output = Publication;

    fn begin(&mut self) -> Option<Publication> {
        let has_viewer = self.has_viewer();
        let observation = self.source.begin_poll();
        let publication = observation.map(|observation| self.track.observe(observation, has_viewer));
        for event in self.source.take_xids_of_node_agent() {
            self.track.add_xid(&event);
        }
        if let Some(versions) = self.source.versions_of_node_agent() {
            self.versions = versions.clone();
        }
        publication
    }

    fn opened(&mut self, driver: &Driver<'_>) {
        self.versions = driver.versions().clone();
    }

    fn poll(&mut self, driver: &mut Driver<'_>) -> (Publication, Option<ReopenReason>) {
        if let Err(fault) = driver.begin_poll() {
            return (self.unavailable(fault), None);
        }
        let has_lost_node_agent = self.source.has_lost_node_agent();
        let has_viewer = self.has_viewer();
        let Self { source, track, .. } = self;
        let observation = source.observe(driver, |uuid, scope| track.newest_process_sample(uuid, scope));
        if let (Err(reason), true) = (&observation.attribution.outcome, has_lost_node_agent) {
            let reason = *reason;
            return (self.driver_unavailable(reason), None);
        }
        let publication = track.observe(observation, has_viewer);
        let reopen = publication.reopen;
        (publication, reopen)
    }

    fn unavailable(&mut self, fault: Fault) -> Publication {
        self.driver_unavailable(fault.into())
    }

    fn publish(&mut self, publication: Publication, poll: &FinishedPoll) {
        self.track.add_calls(poll.calls.calls, &poll.calls.faults);
        if poll.is_last {
            self.track.end(Instant::now());
        }
        let now = SystemTime::now();
        let snapshot = self.snapshot(publication, poll, now);
        log_change(&self.snapshots.borrow(), &snapshot);
        let mut termination_log = self.termination_log.lock().unwrap_or_else(PoisonError::into_inner);
        termination_log.write(&snapshot, &self.presence.borrow(), now);
        drop(termination_log);
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    fn is_due(&self) -> bool {
        self.source.has_new_report()
    }

    fn xid(&mut self, event: &XidEvent) {
        self.track.add_xid(event);
    }

    fn buffered_time(&self) -> Option<Duration> {
        self.track.accounts().iter().filter_map(Account::buffered_time).min()
    }

    fn read_samples(&mut self, driver: &mut Driver<'_>) {
        for index in 0..driver.devices().len() {
            let Some(account) = self.track.account_with_full_buffer(&driver.devices()[index].uuid) else {
                continue;
            };
            // The next poll reports a lost device.
            if let Ok(Some(samples)) = driver.samples(index) {
                account.keep_samples(&samples);
            }
        }
    }
}

/// Logs if the attribution or the reason has changed since the earlier snapshot.
fn log_change(earlier: &Snapshot, snapshot: &Snapshot) {
    match &snapshot.attribution {
        attribution if *attribution == earlier.attribution => {}
        Ok(attribution) => {
            let gpus: Vec<&str> = snapshot.gpus.iter().map(|gpu| gpu.device.uuid.as_str()).collect();
            let (gpu, strategy) = (gpus.join(","), attribution.strategy.as_str());
            tracing::info!(gpu, strategy, "A GPU is attributed to the session");
        }
        Err(UnavailableReason::NotRequested) => {
            tracing::info!(
                "No GPU is attributed: neither a request nor an annotation shows that the pod has one"
            );
        }
        Err(UnavailableReason::NotAllocated) => {
            tracing::info!("No GPU is attributed: the node agent sees no device of the pod");
        }
        Err(reason) => tracing::warn!(reason = reason.as_str(), "No GPU of the session can be read"),
    }
}
