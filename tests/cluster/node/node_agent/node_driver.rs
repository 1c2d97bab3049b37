//! The driver of the node as the agent sees it: all cards of the test cluster, and the processes on them.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::Result;
use fake_nvml::{Device, Memory, Process, ProcessCourse, Samples, Scenario, Stream};
use kit::cluster::{CLAIMABLE_GPUS, PLUGIN_GPUS, SHARED_GPU};

/// The scenario of the agent's driver. The shipped manifests mount this folder of the node into the agent.
pub(super) const SCENARIO: &str = "/var/lib/kubelet/pod-resources/fake-nvml.json";

/// Number of cards in the scenario.
pub(super) const CARDS: usize = CLAIMABLE_GPUS.len() + PLUGIN_GPUS.len() + 1;

/// A process on a card. It has one encoder session.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) gpu: String,
    pub(super) pid: u32,
    pub(super) kind: Kind,
    /// Bytes of the frame buffer.
    pub(super) memory: u64,
    /// Percent of the multiprocessors' time in each phase of the hour.
    pub(super) phases: [u32; PHASES],
}

/// An hour of work passes thirty times as fast. A phase has about four polls of the agent.
pub(super) const PHASES: usize = 6;
pub(super) const PHASE: Duration = Duration::from_secs(20);

/// The kind of context that a process has on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Graphics,
    Compute,
}

impl Kind {
    /// The codec of the encoder session of a process of this kind: the label, and `nvmlEncoderType_t`.
    pub(super) fn codec(self) -> (&'static str, u32) {
        match self {
            Self::Graphics => ("h264", 0),
            Self::Compute => ("hevc", 1),
        }
    }
}

impl Work {
    /// Busy seconds of the hour.
    pub(super) fn busy_seconds(&self) -> f64 {
        f64::from(self.phases.iter().sum::<u32>()) / 100.0 * PHASE.as_secs_f64()
    }
}

/// Sets what the agent's driver shows. The hour is over: the processes do not work.
pub(super) fn show(work: &[Work]) -> Result<()> {
    play_from(Duration::ZERO, work)
}

/// Lets the hour begin now.
pub(super) fn play(work: &[Work]) -> Result<()> {
    play_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?, work)
}

/// The cards for claims come first, so that the card `gpu-N` of the DRA driver has the minor number N. The hour begins at this Unix
/// time.
fn play_from(begin: Duration, work: &[Work]) -> Result<()> {
    let uuids = CLAIMABLE_GPUS.into_iter().chain(PLUGIN_GPUS).chain([SHARED_GPU]);
    let begins_us = begin.as_micros() as u64;
    let devices = uuids.zip(0..).map(|(uuid, minor)| card(uuid, minor, begins_us, work)).collect();
    let scenario = Scenario { driver_version: Some("580.95.05".to_owned()), devices, ..Scenario::default() };
    Ok(scenario.write(Path::new(SCENARIO))?)
}

/// A card that is as busy as all of its processes together.
fn card(uuid: &str, minor: u32, begins_us: u64, work: &[Work]) -> Device {
    let work: Vec<&Work> = work.iter().filter(|work| work.gpu == uuid).collect();
    let processes = |kind| {
        let of_kind = work.iter().filter(|work| work.kind == kind);
        of_kind
            .map(|work| Process { pid: work.pid, memory: Some(work.memory), ends_after_lists: None })
            .collect()
    };
    let process_course =
        |work: &&Work| ProcessCourse { pid: work.pid, begins_us, course: course(|phase| work.phases[phase]) };
    let encoder_session = |work: &&Work| Stream {
        pid: work.pid,
        codec: work.kind.codec().1,
        frames: 60,
        latency: 4000,
        ..Stream::default()
    };
    Device {
        uuid: Some(uuid.to_owned()),
        name: Some("NVIDIA L40S".to_owned()),
        minor: Some(minor),
        // As a real driver: six samples a second, for 20 s.
        samples: Some(Samples {
            period_us: 166_667,
            length: 120,
            begins_us,
            course: course(|phase| work.iter().map(|work| work.phases[phase]).sum()),
            ..Samples::default()
        }),
        memory: Some(Memory {
            total: 48 << 30,
            reserved: 1 << 29,
            used: work.iter().map(|work| work.memory).sum(),
        }),
        compute: Some(processes(Kind::Compute)),
        graphics: Some(processes(Kind::Graphics)),
        process_utilization: Some(vec![]),
        process_courses: work.iter().map(process_course).collect(),
        encoding: Some([work.len() as u32, 60, 4000]),
        encoder_sessions: Some(work.iter().map(encoder_session).collect()),
        ..Device::default()
    }
}

fn course(percent: impl Fn(usize) -> u32) -> Vec<(u64, u32)> {
    (0..PHASES).map(|phase| (PHASE.as_micros() as u64, percent(phase))).collect()
}
