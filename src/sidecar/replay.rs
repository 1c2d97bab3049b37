//! What a sidecar exposes for given reports of the node agent, without files, a driver and a clock. For the fuzzer.

use std::time::{Duration, Instant, SystemTime};

use super::{
    config::SessionNames,
    snapshot::Snapshot,
    source::NodeAgent,
    track::{Publication, Track},
};
use crate::sampling::report::SessionReport;

/// A sidecar that gets only reports.
#[derive(Debug)]
pub struct ReportReplay {
    node_agent: NodeAgent,
    track: Track,
}

// === impl ReportReplay ===

impl ReportReplay {
    /// A sidecar that polls at this interval and has read no report.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { node_agent: NodeAgent::default(), track: Track::new(interval) }
    }

    /// Polls once. `at` is the time of the report for this process. Returns what the sidecar exposes then.
    pub fn poll(&mut self, report: SessionReport, at: Instant) -> Snapshot {
        self.node_agent.record(Ok(report), None);
        let observation = self.node_agent.observation_at(at);
        let publication = observation.map(|observation| self.track.observe(observation, None));
        for event in self.node_agent.take_xids() {
            self.track.add_xid(&event);
        }
        let first = Snapshot::before_the_first_poll(
            SessionNames::default(),
            SystemTime::UNIX_EPOCH,
            SystemTime::UNIX_EPOCH,
        );
        let Some(Publication { attribution, not_applicable, gpus, lost, .. }) = publication else {
            return first;
        };
        let (accounts, clamped) = (self.track.accounts().to_vec(), self.track.totals().clamped.clone());
        Snapshot { attribution, not_applicable, gpus, lost, accounts, clamped, ..first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gpu::{Device, Reading, Versions},
        sampling::{
            observation::DeviceValues,
            processes::OwnUsage,
            report::{DeviceReport, VERSION},
            scope::Scope,
            sharing::Sharing,
        },
    };

    /// The sidecar of one pod can poll more often than the agent.
    #[test]
    fn the_work_between_two_reports_counts_if_the_agent_polls_less_often() {
        let own = OwnUsage { sm: Some(0.25), all_sm: 0.5, ..OwnUsage::default() };
        let reading = Reading { utilization: Some(0.5), ..Reading::default() };
        let report = SessionReport {
            version: VERSION,
            at_us: 0,
            interval_us: 60_000_000,
            versions: Versions::default(),
            devices: vec![DeviceReport {
                device: Device { uuid: "GPU-1".into(), ..Device::default() },
                sharing: Sharing::TimeSlicing,
                is_unassigned: false,
                values: Ok(DeviceValues { reading, own: Some(own), is_incomplete: false }),
                xids: vec![],
            }],
        };
        let (mut replay, began) = (ReportReplay::new(Duration::from_secs(15)), Instant::now());
        replay.poll(report.clone(), began);
        let seen = replay.poll(report, began + Duration::from_secs(60));
        let busy = &seen.accounts[0].busy;
        assert_eq!((busy.get(Scope::Session), busy.get(Scope::Device)), (Some(15.0), Some(30.0)));
    }
}
