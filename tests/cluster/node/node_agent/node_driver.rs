//! The driver of the node as the agent sees it: all cards of the test cluster, and the processes on them.

use std::path::Path;

use anyhow::Result;
use fake_nvml::{Device, Memory, Process, ProcessUtilization, Samples, Scenario, Stream, Utilization};
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
    pub(super) gibibytes: u64,
    /// Percent of the multiprocessors' time.
    pub(super) percent: u32,
}

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

/// Sets what the agent's driver shows. A card is as busy as all of its processes together. The cards for claims come first, so that
/// the card `gpu-N` of the DRA driver has the minor number N.
pub(super) fn play(work: &[Work]) -> Result<()> {
    let uuids = CLAIMABLE_GPUS.into_iter().chain(PLUGIN_GPUS).chain([SHARED_GPU]);
    let devices = uuids.zip(0..).map(|(uuid, minor)| card(uuid, minor, work)).collect();
    let scenario = Scenario { driver_version: Some("580.95.05".to_owned()), devices, ..Scenario::default() };
    Ok(scenario.write(Path::new(SCENARIO))?)
}

fn card(uuid: &str, minor: u32, work: &[Work]) -> Device {
    let work: Vec<&Work> = work.iter().filter(|work| work.gpu == uuid).collect();
    let memory = |work: &Work| work.gibibytes << 30;
    let processes = |kind| {
        let of_kind = work.iter().filter(|work| work.kind == kind);
        of_kind
            .map(|work| Process { pid: work.pid, memory: Some(memory(work)), ends_after_lists: None })
            .collect()
    };
    let utilization = |work: &&Work| ProcessUtilization {
        pid: work.pid,
        sm: work.percent,
        ..ProcessUtilization::default()
    };
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
        utilization: Some(Utilization { gpu: work.iter().map(|work| work.percent).sum(), memory: 12 }),
        // As a real driver: six samples a second, for 20 s.
        samples: Some(Samples { period_us: 166_667, length: 120, ..Samples::default() }),
        memory: Some(Memory {
            total: 48 << 30,
            reserved: 1 << 29,
            used: work.iter().map(|work| memory(work)).sum(),
        }),
        compute: Some(processes(Kind::Compute)),
        graphics: Some(processes(Kind::Graphics)),
        process_utilization: Some(work.iter().map(utilization).collect()),
        encoding: Some([work.len() as u32, 60, 4000]),
        encoder_sessions: Some(work.iter().map(encoder_session).collect()),
        ..Device::default()
    }
}
