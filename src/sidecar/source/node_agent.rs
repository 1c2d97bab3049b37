//! Observations from the reports of the node agent.

use std::time::{Duration, Instant};

use crate::{
    gpu::{Device, Versions, XidEvent},
    runtime::libc,
    sampling::{
        observation::DeviceObservation,
        report::{DeviceReport, SessionReport},
        sharing::Sharing,
    },
    sidecar::{
        attribution::{self, NotApplicable},
        observation::{DeviceView, Observation},
    },
};

/// The latest report of the node agent.
#[derive(Debug)]
pub(in crate::sidecar) struct NodeAgent {
    /// The report, or why there is none that can be used.
    report: Result<SessionReport, NotApplicable>,
    /// The devices of the report.
    devices: Vec<Device>,
    /// Time of the report: in microseconds since the start of the node, and in this process; none before the first report.
    time: Option<(u64, Instant)>,
    /// Inode of the file at the last poll.
    inode: Option<u64>,
    /// Time up to which Xid faults are counted, in microseconds since the start of the node; none before the first report.
    xids_until: Option<u64>,
}

// === impl NodeAgent ===

impl Default for NodeAgent {
    fn default() -> Self {
        let report = Err(NotApplicable::NotGiven);
        Self { report, devices: vec![], time: None, inode: None, xids_until: None }
    }
}

impl NodeAgent {
    /// Records the report of this poll, and the inode of its file.
    pub(in crate::sidecar) fn record(
        &mut self,
        report: Result<SessionReport, NotApplicable>,
        inode: Option<u64>,
    ) {
        let devices = report.iter().flat_map(|report| &report.devices);
        self.devices = devices.map(|reported| reported.device.clone()).collect();
        if let Ok(SessionReport { at_us, .. }) = report
            && self.time.is_none_or(|(last, _)| last != at_us)
        {
            self.time = Some((at_us, instant(at_us)));
        }
        (self.report, self.inode) = (report, inode);
    }

    /// Whether the file with this inode is not the one of the last poll.
    pub(super) fn is_another(&self, inode: Option<u64>) -> bool {
        inode.is_some() && inode != self.inode
    }

    /// Versions of the driver that the agent uses; none without a report.
    pub(super) fn versions(&self) -> Option<&Versions> {
        self.report.as_ref().ok().map(|report| &report.versions)
    }

    /// UUIDs of the devices in the report that a process of the session uses and that are not assigned to the session.
    pub(super) fn unassigned(&self) -> Vec<String> {
        let reported = self.report.iter().flat_map(|report| &report.devices);
        reported
            .filter(|reported| reported.is_unassigned)
            .map(|reported| reported.device.uuid.clone())
            .collect()
    }

    /// Why the report cannot be used; none if it can.
    pub(super) fn reason(&self) -> Option<NotApplicable> {
        self.report.as_ref().err().copied()
    }

    /// The Xid faults in the report that were not returned before. Faults from before the first report are not the session's.
    pub(in crate::sidecar) fn take_xids(&mut self) -> Vec<XidEvent> {
        let Ok(report) = &self.report else { return vec![] };
        let until = self.xids_until.unwrap_or(report.at_us);
        self.xids_until = Some(until.max(report.at_us));
        let xids = report.devices.iter().flat_map(|device| device.xids.iter().map(move |xid| (device, xid)));
        let new = xids.filter(|(_, xid)| (until..report.at_us).contains(&xid.at_us));
        new.map(|(reported, xid)| XidEvent { devices: vec![reported.device.uuid.clone()], code: xid.code })
            .collect()
    }

    /// The observation in the report; none if there is no report that can be used.
    pub(super) fn observation(&self) -> Option<Observation<'_>> {
        let (_, at) = self.time?;
        self.observation_at(at)
    }

    /// The observation in the report. `at` is the time of the report for this process.
    pub(in crate::sidecar) fn observation_at(&self, at: Instant) -> Option<Observation<'_>> {
        let report = self.report.as_ref().ok()?;
        let sharing: Vec<Sharing> = report.devices.iter().map(|device| device.sharing).collect();
        let reading = |DeviceReport { device, values, .. }: &DeviceReport| DeviceObservation {
            uuid: device.uuid.clone(),
            at,
            values: values.clone(),
        };
        Some(Observation {
            at,
            interval: Some(Duration::from_micros(report.interval_us)),
            view: DeviceView { visible: &self.devices, ..DeviceView::default() },
            attribution: attribution::by_node_agent(&sharing),
            readings: report.devices.iter().map(reading).collect(),
        })
    }
}

/// The time of this process for a time since the start of the node.
fn instant(since_boot_us: u64) -> Instant {
    let age = libc::since_boot().saturating_sub(Duration::from_micros(since_boot_us));
    let now = Instant::now();
    now.checked_sub(age).unwrap_or(now)
}
