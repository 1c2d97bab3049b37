//! Reads every device of the node, and finds the pods of the processes on it.

use std::{collections::HashMap, error::Error, path::Path, time::Duration};

use super::{
    attribution::Owner,
    process_table::{ProcessOwner, ProcessTable},
    snapshot::{MappingFailure, PollSummary},
};
use crate::{
    gpu::{Driver, Fault, Process, ProcessUtilization, Reading},
    runtime::libc,
    sampling::{
        driver_clock,
        observation::DeviceValues,
        processes::{self, OwnUsage, SampleWindow},
    },
};

/// Reads the devices. Remembers between two polls what the next one needs.
#[derive(Debug)]
pub(super) struct DeviceReader {
    interval: Duration,
    processes: ProcessTable,
    /// Time of the newest process sample of each device, by UUID, in microseconds of the driver's clock.
    newest_samples: HashMap<String, u64>,
}

/// What one poll read from one device.
pub(super) struct NodeReading {
    values: Result<(Reading, bool), Fault>,
    /// The processes with their owners: the UID of a pod, or none for a process outside of all pods. None if the driver gives no
    /// complete list.
    processes: Option<Vec<(Process, Option<String>)>>,
    utilization: Option<Vec<ProcessUtilization>>,
    window: SampleWindow,
}

// === impl DeviceReader ===

impl DeviceReader {
    /// A reader that finds processes in this `/proc`.
    ///
    /// # Errors
    /// Fails if `proc` cannot be read.
    pub(super) fn new(interval: Duration, proc: &Path) -> Result<Self, Box<dyn Error>> {
        Ok(Self { interval, processes: ProcessTable::new(proc)?, newest_samples: HashMap::new() })
    }

    /// Reads all devices, in the driver's order.
    pub(super) fn read_all(
        &mut self,
        driver: &mut Driver<'_>,
        summary: &mut PollSummary,
    ) -> Vec<NodeReading> {
        let readings = (0..driver.devices().len()).map(|index| self.read(driver, index, summary)).collect();
        self.processes.end_poll();
        self.newest_samples.retain(|uuid, _| driver.devices().iter().any(|device| device.uuid == *uuid));
        readings
    }

    fn read(&mut self, driver: &mut Driver<'_>, index: usize, summary: &mut PollSummary) -> NodeReading {
        let uuid = driver.devices()[index].uuid.clone();
        let earlier_faults = driver.faults().len();
        let read = driver.read(index);
        let listed = driver.processes(index).ok().flatten();
        let newest_sample = read.as_ref().ok().and_then(Reading::newest_sample);
        let last = self.newest_samples.get(&uuid).copied().unwrap_or_default();
        let window = SampleWindow::new(last, driver_clock::clocks(newest_sample), self.interval);
        let utilization = driver.process_utilization(index, window.since).ok().flatten();
        let newest =
            utilization.iter().flatten().map(|sample| sample.at).filter(|at| window.contains(*at)).max();
        self.newest_samples.extend(newest.map(|at| (uuid, at)));
        let is_incomplete = driver.has_failed_since(earlier_faults);
        NodeReading {
            values: read.map(|reading| (reading, is_incomplete)),
            processes: listed.and_then(|listed| self.with_owners(listed, summary)),
            utilization,
            window,
        }
    }

    /// The processes that still exist, with their owners. A process whose owner cannot be read is left out and counted. None if none
    /// of the listed processes exists here: then the PIDs are of another PID namespace.
    fn with_owners(
        &mut self,
        listed: Vec<Process>,
        summary: &mut PollSummary,
    ) -> Option<Vec<(Process, Option<String>)>> {
        let is_empty = listed.is_empty();
        let seen_at = libc::since_boot();
        let owner = |process: Process| match self.processes.owner(process.pid, seen_at) {
            ProcessOwner::Pod(pod) => Some((process, Some(pod.uid))),
            ProcessOwner::NoPod => Some((process, None)),
            ProcessOwner::Ended => {
                summary.fail(MappingFailure::ProcessEnded);
                None
            }
            ProcessOwner::Unreadable(error) => {
                tracing::debug!(%error, "Cannot read the pod of a process");
                summary.fail(MappingFailure::ProcessUnreadable);
                None
            }
        };
        let owned: Vec<_> = listed.into_iter().filter_map(owner).collect();
        (is_empty || !owned.is_empty()).then_some(owned)
    }
}

// === impl NodeReading ===

impl NodeReading {
    /// The owners of the processes.
    pub(super) fn owners(&self) -> Vec<Owner<'_>> {
        self.processes.iter().flatten().map(|(_, owner)| owner.as_deref()).collect()
    }

    /// The values of the device for the pod with this UID.
    pub(super) fn values_of(&self, uid: &str) -> Result<DeviceValues, Fault> {
        let (reading, is_incomplete) = self.values.clone()?;
        Ok(DeviceValues { reading, own: self.own_usage(uid), is_incomplete })
    }

    fn own_usage(&self, uid: &str) -> Option<OwnUsage> {
        let own = self.processes.as_ref()?.iter().filter(|(_, owner)| owner.as_deref() == Some(uid));
        let listed: Vec<Process> = own.map(|(process, _)| *process).collect();
        let usage = processes::own_usage(&listed, self.utilization.as_deref(), self.window);
        Some(OwnUsage { newest_sample: usage.newest_sample.max(self.window.since), ..usage })
    }
}
