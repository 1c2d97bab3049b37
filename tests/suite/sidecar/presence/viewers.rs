//! Who counts as a viewer, and which bytes count.

use std::{net::UdpSocket, time::Instant};

use kit::network::{OUTSIDE, POD};
use vdi_metrics::contract::env;

use super::desktop_pod::*;
use crate::sidecar::{driver_scenarios::hanging, pod_fixture::PodFixture, running_sidecar::*};

#[test]
fn a_viewer_is_counted_with_its_bytes_and_its_time() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let before = pod.scrape();
    assert_eq!((before.value(CONNECTIONS, &[]), before.value(CONNECTED, &[])), (Some(0.0), Some(0.0)));
    assert_eq!((before.value(TRANSMITTED, &[]), before.value(RTT, &[])), (Some(0.0), None));
    let server = pod.listen("::", PORT);
    let began = Instant::now();
    let mut link = pod.connect(&server, POD[0]);
    link.send(3_000_000);
    link.receive(70_000);
    let seen = pod.scrape_until("the bytes", |seen| seen.value(TRANSMITTED, &[]) == Some(3e6));
    assert_eq!((seen.value(CONNECTIONS, &[]), seen.value(RECEIVED, &[])), (Some(1.0), Some(7e4)));
    // On a busy machine an acknowledgement can be late.
    let again = seen.value(RETRANSMITTED, &[]);
    assert!(again.is_some_and(|bytes| bytes < 1e5), "{again:?}");
    assert!(seen.value(RTT, &[]).is_some_and(|rtt| (1e-6..0.1).contains(&rtt)));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let last = seen.value("vdi_session_last_connected_timestamp_seconds", &[]).unwrap();
    assert!((now - 5.0..=now).contains(&last), "{last} is not {now}");
    link.send(1000);
    pod.scrape_until("more bytes", |seen| seen.value(TRANSMITTED, &[]) == Some(3_001_000.0));
    let lasted = began.elapsed().as_secs_f64();
    drop(link);
    let gone = pod.viewers_until(0);
    assert_eq!(gone.value(TRANSMITTED, &[]), Some(3_001_000.0));
    let connected = gone.value(CONNECTED, &[]).unwrap();
    // The machine can be busy, so a poll can be late.
    assert!((connected - lasted).abs() < 1.0, "connected for {lasted} s, {connected} s are counted");
}

#[test]
fn viewers_of_both_address_families_count() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let (dual, v4) = (pod.listen("::", PORT), pod.listen("0.0.0.0", 5900));
    let links = [pod.connect(&dual, POD[0]), pod.connect(&dual, POD[1]), pod.connect(&v4, POD[0])];
    pod.viewers_until(3);
    drop(links);
    pod.viewers_until(0);
}

#[test]
fn only_declared_ports_count() {
    let Some(pod) = DesktopPod::start(&[(env::PORTS, "6901,3000")]) else { return };
    let (declared, other) = (pod.listen("::", PORT), pod.listen("::", 5900));
    let _links = [pod.connect(&declared, POD[0]), pod.connect(&other, POD[0])];
    pod.viewers_until(1);
}

/// A driver that hangs stops the poller of the GPU, and nothing else.
#[test]
fn a_viewer_counts_while_the_driver_hangs() {
    let scenario = hanging(fake_nvml::Symbol::nvmlInit_v2);
    let Some(pod) = DesktopPod::start_with(&PodFixture::default(), &scenario, &[]) else { return };
    let server = pod.listen("::", PORT);
    let _link = pod.connect(&server, POD[0]);
    let seen = pod.viewers_until(1);
    assert_eq!(seen.value(AVAILABLE, &[]), Some(0.0));
}

#[test]
fn addresses_of_viewers_are_in_no_output() {
    let Some(pod) = DesktopPod::start(&[(env::LOG, "debug")]) else { return };
    let server = pod.listen("::", PORT);
    let _links =
        OUTSIDE.iter().zip(POD).map(|(_, address)| pod.connect(&server, address)).collect::<Vec<_>>();
    let seen = pod.viewers_until(2);
    let message = pod.sidecar.message_until("a message", |_| true).to_string();
    let output = format!("{seen:?}{}{message}", pod.sidecar.process.log());
    for address in OUTSIDE.into_iter().chain(POD) {
        assert!(!output.contains(address), "{address} is in the output");
    }
}

#[test]
fn a_stream_over_udp_is_unknown_and_not_zero() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let server = pod.network.pod.inside(|| UdpSocket::bind("0.0.0.0:47998").unwrap());
    let udp = [("source", "sock_diag"), ("transport", "udp"), ("confidence", "low")];
    let seen = kit::process::eventually("the stream", || {
        for _ in 0..20 {
            server.send_to(&[0; 1000], (OUTSIDE[0], 47998)).unwrap();
        }
        Some(pod.scrape()).filter(|seen| seen.value(INFO, &udp).is_some())
    });
    assert_eq!((seen.value(CONNECTIONS, &[]), seen.value(CONNECTED, &[])), (None, Some(0.0)));
    pod.viewers_until(0);
}
