//! What the agent exposes: the last poll, and totals since the agent started. Plain data.

use std::time::{Duration, SystemTime};

use super::{device_totals::DeviceCounters, pod_resources::ListFailure};
use crate::{
    gpu::Versions,
    runtime::vocabulary::vocabulary,
    sampling::{
        bounds::Clamp,
        counters::{CallTotals, count},
        poll::FinishedPoll,
    },
};

vocabulary! {
    /// Why a process, a pod or a report could not be handled; values of the label `reason`.
    pub enum MappingFailure {
        /// The agent runs in a PID namespace of its own, so no process of the node can be found.
        NoHostPid = "no_host_pid",
        /// A process ended between the driver's list and the look-up of its pod.
        ProcessEnded = "process_ended",
        /// The pod of a process cannot be read.
        ProcessUnreadable = "process_unreadable",
        /// The kubelet's folder of pods cannot be read.
        PodsUnreadable = "pods_unreadable",
        /// The volume of a session pod cannot be read.
        VolumeUnreadable = "volume_unreadable",
        /// The kubelet's folder of logs, which shows the names of pods, cannot be read.
        PodLogsUnreadable = "pod_logs_unreadable",
        /// The annotations of a session pod cannot be read.
        AnnotationsUnreadable = "annotations_unreadable",
        /// The devices of the pod are unknown, and none of its processes is on a device. The kubelet does not list the pod, a name or
        /// an annotation does not show the device, or the driver does not list it.
        PodUnknown = "pod_unknown",
        /// The report of a session cannot be written.
        ReportNotWritten = "report_not_written",
    }
}

/// Result of a poll.
#[derive(Clone, Debug, Default)]
pub(super) struct PollSummary {
    pub(super) devices: usize,
    /// Number of sessions; none if they could not be found.
    pub(super) sessions: Option<usize>,
    /// Number of reports that were written.
    pub(super) reports: usize,
    pub(super) failures: Vec<MappingFailure>,
    /// Kinds of the values out of range.
    pub(super) clamps: Vec<Clamp>,
    /// Time of the readings since the start of the node; none if the driver did not answer.
    pub(super) read_at: Option<Duration>,
    /// Whether the poll has ended by a panic.
    pub(super) has_panicked: bool,
}

/// What the agent exposes.
#[derive(Clone, Debug, Default)]
pub struct NodeSnapshot {
    /// Number of devices at the last poll.
    pub devices: usize,
    /// Number of sessions whose report the last poll has written.
    pub sessions: usize,
    /// Reports that were written since the agent started.
    pub reports: u64,
    /// Failures since the agent started, by reason.
    pub failures: Vec<(MappingFailure, u64)>,
    /// Calls of the driver's library and values out of range since the agent started.
    pub calls: CallTotals,
    /// Versions of the library that was opened last, and of its driver.
    pub versions: Versions,
    /// The devices that were read since the agent started.
    pub(super) totals: Vec<DeviceCounters>,
    /// Time of the values in the latest reports since the start of the node; none if the node has no session, and before the first
    /// report.
    pub reported: Option<Duration>,
    /// Time and duration of the last poll in which the driver answered; none before the first one.
    pub last_poll: Option<(SystemTime, Duration)>,
    /// Whether the last poll could read the driver.
    pub is_driver_readable: bool,
    /// Why the kubelet does not list the devices of pods; none if it does.
    pub(super) kubelet: Option<ListFailure>,
}

// === impl PollSummary ===

impl PollSummary {
    /// Counts a failure.
    pub(super) fn fail(&mut self, failure: MappingFailure) {
        self.failures.push(failure);
    }
}

// === impl NodeSnapshot ===

impl NodeSnapshot {
    /// The snapshot after a poll.
    pub(super) fn after(
        &self,
        summary: &PollSummary,
        poll: &FinishedPoll,
        kubelet: Option<ListFailure>,
        totals: Vec<DeviceCounters>,
    ) -> Self {
        let mut next = self.clone();
        next.calls.add_calls(poll.calls.calls, &poll.calls.faults);
        next.calls.add_clamps(&summary.clamps);
        summary.failures.iter().for_each(|failure| count(&mut next.failures, *failure));
        next.reports += summary.reports as u64;
        (next.devices, next.sessions, next.kubelet) = (summary.devices, summary.reports, kubelet);
        next.totals = totals;
        match summary.sessions {
            Some(0) => next.reported = None,
            _ if summary.reports > 0 => next.reported = summary.read_at,
            _ => {}
        }
        next.is_driver_readable = summary.read_at.is_some();
        if next.is_driver_readable {
            next.last_poll = Some((SystemTime::now(), poll.started.elapsed()));
        }
        next
    }
}
