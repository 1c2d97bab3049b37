use super::*;
use crate::{
    gpu::{Device, Memory, Reading},
    presence::{
        track::snapshot::StreamQuality,
        vocabulary::{PassedReason, PresenceConfidence, Transport},
    },
    sampling::{
        counters::{DeviceScopes, ScopedValues},
        sharing::Sharing,
        streams::OwnStreams,
    },
    sidecar::{
        attribution::{Confidence, Strategy},
        config::SessionNames,
        snapshot::{AttributionInfo, Collection},
    },
};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// A session that started at 0 and has not polled.
fn starting() -> Snapshot {
    let session = SessionNames { name: "alice-7".into(), template: "cad".into(), ..SessionNames::default() };
    Snapshot::before_the_first_poll(session, at(0), at(1))
}

/// A session with a shared GPU.
fn with_gpu() -> Snapshot {
    let device = Device { uuid: "GPU-1".into(), model: Some("NVIDIA L40S".into()), ..Device::default() };
    let reading = Reading { memory: Some(Memory { used: 6 << 30, total: 48 << 30 }), ..Reading::default() };
    let values = ScopedValues {
        utilization: ByScope::of(&[(Scope::Device, 0.8), (Scope::Session, 0.344)]),
        memory: ByScope::of(&[(Scope::Device, 6 << 30), (Scope::Session, 900 << 20)]),
        ..ScopedValues::default()
    };
    let gpu = Gpu {
        device,
        sharing: Sharing::TimeSlicing,
        scopes: DeviceScopes { device: Scope::Device, card: Scope::Device },
        reading,
        values,
        own_streams: OwnStreams::default(),
        processes: None,
    };
    let attribution = AttributionInfo {
        strategy: Strategy::NodeAgent,
        scope: Scope::Device,
        confidence: Confidence::Exact,
    };
    let collection = Collection { at: at(11_516), duration: Duration::ZERO, success: true };
    Snapshot { attribution: Ok(attribution), gpus: vec![gpu], collection: Some(collection), ..starting() }
}

fn method(source: PresenceSource, transport: Option<Transport>) -> Option<Method> {
    let confidence = transport.map(|_| PresenceConfidence::Good);
    Some(Method {
        source,
        transport,
        confidence,
        passed: vec![(PresenceSource::SockDiag, PassedReason::NotPermitted)],
    })
}

fn viewed(connections: u32) -> PresenceSnapshot {
    PresenceSnapshot {
        method: method(PresenceSource::SockDiag, Some(Transport::Tcp)),
        connections: Some(connections),
        connected: Some(Duration::from_secs(7300)),
        ..PresenceSnapshot::default()
    }
}

/// The line with this label.
fn line(page: &str, label: &str) -> String {
    let line = page.lines().find(|line| line.trim_start().starts_with(label));
    line.map(|line| line.trim_start()[label.len()..].trim().to_owned()).unwrap_or_default()
}

#[test]
fn the_page_has_session_gpu_connection_and_metrics_in_aligned_lines() {
    let rtt = Some(Duration::from_micros(23_400));
    let presence = PresenceSnapshot {
        connected_since: Some(at(7740)),
        quality: Some(StreamQuality { rtt, limits: None }),
        ..viewed(2)
    };
    let expected = "\
Session         alice-7
Template        cad
Age             3 h 12 min

GPU             NVIDIA L40S
  sharing       time-slicing
  utilization   80 % by all pods, 34 % by this desktop
  memory        6.0 GiB by all pods, 900 MiB by this desktop, 48.0 GiB in total
  last poll     4 s ago

Viewers         2, connected for 1 h 3 min
  round trip    23.4 ms
  in total      connected for 2 h 1 min

All metrics     /metrics
";
    assert_eq!(text(&with_gpu(), &presence, at(11_520)), expected);
}

#[test]
fn a_gpu_that_cannot_be_read_has_the_reason() {
    let page = |reason| text(&Snapshot { attribution: Err(reason), ..starting() }, &viewed(0), at(60));
    assert_eq!(line(&page(UnavailableReason::DriverNotLoaded), "GPU"), "unknown: driver not loaded");
    assert_eq!(line(&page(UnavailableReason::NotRequested), "GPU"), "none: not requested");
    let lost = vec![("GPU-2".to_owned(), UnavailableReason::GpuLost)];
    let one_of_two = text(&Snapshot { lost, ..with_gpu() }, &viewed(0), at(60));
    assert_eq!(one_of_two.matches("\nGPU ").count(), 2);
    assert!(one_of_two.contains("unknown: gpu lost"), "{one_of_two}");
}

#[test]
fn the_viewers_are_a_number_or_unknown_with_the_reason() {
    let viewers = |presence: &PresenceSnapshot| line(&text(&starting(), presence, at(400)), "Viewers");
    assert_eq!(viewers(&viewed(0)), "none since the sidecar started");
    let left = PresenceSnapshot { last_connected: Some(at(100)), ..viewed(0) };
    assert_eq!(viewers(&left), "none, the last one 5 min ago");
    let unknown = |method| viewers(&PresenceSnapshot { method, ..PresenceSnapshot::default() });
    assert_eq!(unknown(None), "unknown: nothing was read yet");
    assert_eq!(unknown(PresenceSnapshot::off().method), "unknown: presence is switched off");
    let udp = method(PresenceSource::SockDiag, Some(Transport::Udp));
    assert_eq!(unknown(udp), "unknown: the desktop seems to stream over UDP");
    let truncated = method(PresenceSource::SockDiag, Some(Transport::Tcp));
    assert_eq!(unknown(truncated), "unknown: the connections could not be read completely");
    let none = "unknown: the connections cannot be read (sock_diag not permitted)";
    assert_eq!(unknown(method(PresenceSource::None, None)), none);
}

#[test]
fn values_that_are_not_known_have_no_line() {
    let page = text(&starting(), &PresenceSnapshot::off(), at(59));
    for label in ["Pool", "User", "sharing", "utilization", "memory", "last poll", "round trip", "in total"] {
        assert!(!page.contains(label), "{label} in {page}");
    }
    assert_eq!((line(&page, "Age"), line(&page, "GPU")), ("59 s".to_owned(), "unknown: starting".to_owned()));
}

#[test]
fn durations_have_at_most_two_units() {
    let durations = [0, 59, 60, 3599, 3600, 90_061].map(|seconds| duration(Duration::from_secs(seconds)));
    assert_eq!(durations, ["0 s", "59 s", "1 min", "59 min", "1 h 0 min", "1 d 1 h"]);
}
