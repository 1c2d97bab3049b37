//! The work of the node agent at each poll: reads the driver once for all sessions, writes each session's report, and counts the totals
//! of the devices.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    allocations::Allocations,
    config::NodeOptions,
    device_reader::{DeviceReader, NodeReading, PolledDevices},
    device_totals::{DeviceTotals, DeviceUse, NodeSessions},
    session_reports::SessionReports,
    snapshot::{MappingFailure, NodeSnapshot, PollSummary},
};
use crate::{
    gpu::{Code, Device, Driver, Fault, ReopenReason, Versions, XidEvent},
    runtime::{libc, readiness::Latch},
    sampling::poll::{FinishedPoll, PollTask},
};

/// The agent's state between two polls.
#[derive(Debug)]
pub(super) struct AgentPoller {
    reader: DeviceReader,
    reports: SessionReports,
    totals: DeviceTotals,
    versions: Versions,
    /// Number of devices at the last poll, or why the driver did not answer; none before the first poll.
    driver: Option<Result<usize, Fault>>,
    /// Whether `/proc` has the processes of the node.
    sees_node_processes: bool,
    allocations: watch::Receiver<Arc<Allocations>>,
    snapshots: watch::Sender<Arc<NodeSnapshot>>,
    /// Released by the first poll that ends without a panic.
    first_poll: Option<Latch>,
}

/// How the poller communicates with the rest of the agent.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) allocations: watch::Receiver<Arc<Allocations>>,
    pub(super) snapshots: watch::Sender<Arc<NodeSnapshot>>,
    /// Keeps the agent unready until the end of the first poll.
    pub(super) first_poll: Latch,
}

// === impl AgentPoller ===

impl AgentPoller {
    /// A poller of the node with these folders.
    ///
    /// # Errors
    /// Fails if the kubelet's folder `pods`, or `proc`, cannot be read, or if the ID of a device has no known form.
    pub(super) fn new(
        interval: Duration,
        options: &NodeOptions,
        channels: Channels,
    ) -> Result<Self, Box<dyn Error>> {
        let reader = DeviceReader::new(interval, options)?;
        let sees_node_processes = reader.sees_node_processes()?;
        if !sees_node_processes {
            tracing::warn!(
                proc = %options.proc.display(),
                "The agent is process 1 of its PID namespace and does not see the processes of the node, so it cannot \
                 distinguish the sessions on a shared GPU; set hostPID: true in its pod"
            );
        }
        Ok(Self {
            reader,
            reports: SessionReports::new(interval, options)?,
            totals: DeviceTotals::new(interval),
            versions: Versions::default(),
            driver: None,
            sees_node_processes,
            allocations: channels.allocations,
            snapshots: channels.snapshots,
            first_poll: Some(channels.first_poll),
        })
    }

    /// The result of a poll that has panicked.
    pub(super) fn after_panic(&mut self) -> PollSummary {
        self.totals.end_current();
        PollSummary { has_panicked: true, ..PollSummary::default() }
    }

    /// Logs the result of the driver if it has changed.
    fn log_driver(&mut self, driver: Result<usize, Fault>) {
        if self.driver.replace(driver) == Some(driver) {
            return;
        }
        match driver {
            Ok(devices) => {
                let driver_version = self.versions.driver.as_deref();
                tracing::info!(devices, driver_version, "The driver answers");
            }
            Err(fault) => {
                let remedy = remedy(fault);
                tracing::warn!(%fault, remedy, "The driver does not answer; no session gets a report");
            }
        }
    }
}

fn remedy(fault: Fault) -> &'static str {
    match fault.code {
        Code::LibraryMissing => {
            "the container has no libnvidia-ml.so.1: install the driver on the node, or set runtimeClassName in the DaemonSet"
        }
        Code::DriverNotLoaded => "load the driver on the node",
        Code::VersionMismatch => "the driver was updated: restart the node",
        _ => "check the driver on the node with nvidia-smi",
    }
}

/// What a poll has read from each device, with the kinds of the owners of its processes.
fn uses<'p>(polled: &'p PolledDevices, sessions: &NodeSessions) -> Vec<DeviceUse<'p>> {
    let used = |(index, (device, reading)): (usize, (&'p Device, &'p NodeReading))| {
        let owners = reading.usages().into_iter();
        DeviceUse {
            device,
            reading: reading.reading(),
            owners: owners.filter_map(|(owner, usage)| Some((sessions.kind(owner)?, usage))).collect(),
            sessions: sessions.of_device(index),
        }
    };
    polled.devices.iter().zip(&polled.readings).enumerate().map(used).collect()
}

impl PollTask for AgentPoller {
    type Output = PollSummary;

    fn begin(&mut self) -> Option<PollSummary> {
        None
    }

    fn opened(&mut self, driver: &Driver<'_>) {
        self.versions = driver.versions().clone();
        self.reports.set_versions(driver.versions());
    }

    fn poll(&mut self, driver: &mut Driver<'_>) -> (PollSummary, Option<ReopenReason>) {
        if let Err(fault) = driver.begin_poll() {
            return (self.unavailable(fault), None);
        }
        let now = Instant::now();
        let mut summary = PollSummary::default();
        if !self.sees_node_processes {
            summary.fail(MappingFailure::NoHostPid);
        }
        let polled = self.reader.read_all(driver, &mut summary);
        self.log_driver(Ok(summary.devices));
        let allocations = Arc::clone(&self.allocations.borrow());
        let sessions = self.reports.write(&polled, &allocations, &mut summary);
        summary.clamps = self.totals.add(&uses(&polled, &sessions), now);
        summary.read_at = Some(polled.at);
        summary.sessions = sessions.count();
        (summary, driver.reopen_reason())
    }

    /// Writes nothing: the reports become stale, and the sidecars count the time as unsampled.
    fn unavailable(&mut self, fault: Fault) -> PollSummary {
        self.log_driver(Err(fault));
        self.totals.end_current();
        PollSummary::default()
    }

    fn publish(&mut self, summary: PollSummary, poll: &FinishedPoll) {
        let failure = self.allocations.borrow().failure;
        let earlier = Arc::clone(&self.snapshots.borrow());
        let mut next = earlier.after(&summary, poll, failure, self.totals.published());
        next.versions = self.versions.clone();
        self.snapshots.send_replace(Arc::new(next));
        if let Some(latch) = self.first_poll.take_if(|_| !summary.has_panicked) {
            latch.release();
        }
    }

    fn xid(&mut self, event: &XidEvent) {
        self.reports.record_xid(event, libc::since_boot());
    }

    fn buffered_time(&self) -> Option<Duration> {
        self.totals.buffered_time()
    }

    fn read_samples(&mut self, driver: &mut Driver<'_>) {
        for index in 0..driver.devices().len() {
            let uuid = driver.devices()[index].uuid.clone();
            if !self.totals.has_full_buffer(&uuid) {
                continue;
            }
            // The next poll reports a lost device.
            if let Ok(Some(samples)) = driver.samples(index) {
                self.totals.keep_samples(&uuid, &samples);
                self.reader.keep_samples(&uuid, &samples);
            }
        }
    }
}
