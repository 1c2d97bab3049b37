//! The work of the node agent at each poll: reads the driver once for all sessions, and writes each session's report.

use std::{error::Error, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    allocations::Allocations,
    config::NodeOptions,
    device_reader::DeviceReader,
    session_reports::SessionReports,
    snapshot::{NodeSnapshot, PollSummary},
};
use crate::{
    gpu::{Driver, Fault, ReopenReason, XidEvent},
    runtime::libc,
    sampling::poll::{FinishedPoll, PollTask},
};

/// The agent's state between two polls.
#[derive(Debug)]
pub(super) struct AgentPoller {
    reader: DeviceReader,
    reports: SessionReports,
    allocations: watch::Receiver<Arc<Allocations>>,
    snapshots: watch::Sender<Arc<NodeSnapshot>>,
}

// === impl AgentPoller ===

impl AgentPoller {
    /// A poller of the node with these folders.
    ///
    /// # Errors
    /// Fails if the kubelet's folder `pods`, or `proc`, cannot be read.
    pub(super) fn new(
        interval: Duration,
        options: &NodeOptions,
        allocations: watch::Receiver<Arc<Allocations>>,
        snapshots: watch::Sender<Arc<NodeSnapshot>>,
    ) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            reader: DeviceReader::new(interval, &options.proc)?,
            reports: SessionReports::new(interval, options)?,
            allocations,
            snapshots,
        })
    }
}

impl PollTask for AgentPoller {
    type Output = PollSummary;

    fn begin(&mut self) -> Option<PollSummary> {
        None
    }

    fn opened(&mut self, driver: &Driver<'_>) {
        self.reports.set_versions(driver.versions());
    }

    fn poll(&mut self, driver: &mut Driver<'_>) -> (PollSummary, Option<ReopenReason>) {
        let mut summary = PollSummary { is_driver_readable: true, ..PollSummary::default() };
        if let Err(fault) = driver.begin_poll() {
            return (self.unavailable(fault), None);
        }
        let at = libc::since_boot();
        let readings = self.reader.read_all(driver, &mut summary);
        let allocations = Arc::clone(&self.allocations.borrow());
        self.reports.write(driver.devices(), &readings, &allocations, at, &mut summary);
        summary.devices = driver.devices().len();
        (summary, driver.reopen_reason())
    }

    /// Writes nothing: the reports become stale, and the sidecars count the time as unsampled.
    fn unavailable(&mut self, fault: Fault) -> PollSummary {
        tracing::debug!(%fault, "The driver does not answer");
        PollSummary::default()
    }

    fn publish(&mut self, summary: PollSummary, poll: &FinishedPoll) {
        let failure = self.allocations.borrow().failure;
        let next = self.snapshots.borrow().after(&summary, poll, failure);
        self.snapshots.send_replace(Arc::new(next));
    }

    fn xid(&mut self, event: &XidEvent) {
        self.reports.record_xid(event, libc::since_boot());
    }
}
