//! What the agent exposes: the last poll, and totals since the agent started. Plain data.

use std::time::{Duration, SystemTime};

use super::pod_resources::ListFailure;
use crate::{
    runtime::vocabulary::vocabulary,
    sampling::{counters::CallTotals, poll::FinishedPoll},
};

vocabulary! {
    /// Why a process, a pod or a report could not be handled; values of the label `reason`.
    pub enum MappingFailure {
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
        /// It is not known which devices the pod has: the kubelet does not list it, a name or a scheduler does not show them, or the
        /// driver does not list one; and none of its processes is on a device.
        PodUnknown = "pod_unknown",
        /// The report of a session cannot be written.
        ReportNotWritten = "report_not_written",
    }
}

/// Result of a poll.
#[derive(Clone, Debug, Default)]
pub(super) struct PollSummary {
    pub(super) devices: usize,
    /// Number of reports that were written.
    pub(super) reports: usize,
    pub(super) failures: Vec<MappingFailure>,
    /// Whether the driver answered.
    pub(super) is_driver_readable: bool,
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
    /// Calls of the driver's library since the agent started.
    pub calls: CallTotals,
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
    ) -> Self {
        let mut next = self.clone();
        next.calls.add_calls(poll.calls.calls, &poll.calls.faults);
        for failure in &summary.failures {
            match next.failures.iter_mut().find(|(counted, _)| counted == failure) {
                Some((_, count)) => *count += 1,
                None => next.failures.push((*failure, 1)),
            }
        }
        next.reports += summary.reports as u64;
        (next.devices, next.sessions, next.kubelet) = (summary.devices, summary.reports, kubelet);
        next.is_driver_readable = summary.is_driver_readable;
        if next.is_driver_readable {
            next.last_poll = Some((SystemTime::now(), poll.started.elapsed()));
        }
        next
    }
}
