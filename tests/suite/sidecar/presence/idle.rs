//! The time in which a GPU was allocated and no viewer used it, and the session's page and message.

use fake_nvml::{Scenario, Utilization};
use kit::{
    exposition::Exposition,
    http,
    network::{OUTSIDE, POD},
};
use vdi_metrics::{contract::termination::TerminationMessage, presence::catalogue::ROWS};

use super::desktop_pod::*;
use crate::sidecar::{driver_scenarios::*, pod_fixture::PodFixture, running_sidecar::*};

const IDLE: &str = "vdi_session_gpu_idle_allocated_seconds_total";
const ALLOCATED: &str = "vdi_session_gpu_allocated_seconds_total";

fn idle(seen: &Exposition, reason: &str) -> Option<f64> {
    seen.value(IDLE, &[("gpu", UUID), ("reason", reason)])
}

/// A card that does no work.
fn unused_gpu() -> Scenario {
    let mut scenario = busy_gpu();
    scenario.devices[0].utilization = Some(Utilization { gpu: 0, memory: 0 });
    scenario
}

#[test]
fn a_gpu_is_idle_while_nobody_is_connected_and_while_the_viewer_does_not_use_it() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let nobody = pod.scrape_until("time without a viewer", |seen| idle(seen, "nobody_connected") > Some(0.3));
    assert_eq!(idle(&nobody, "connected_unused"), Some(0.0));
    let server = pod.listen("::", PORT);
    let link = pod.connect(&server, POD[0]);
    let connected = pod.viewers_until(1);
    pod.wait_for_polls();
    let working = pod.scrape();
    assert_eq!(idle(&working, "connected_unused"), Some(0.0), "the GPU is busy");
    assert!(working.value(ALLOCATED, &[]) > connected.value(ALLOCATED, &[]));
    pod.sidecar.play(&unused_gpu());
    let unused = pod.scrape_until("unused time", |seen| idle(seen, "connected_unused") > Some(0.3));
    // A poll of the GPU can be between the scrape and the second read of the connection.
    assert!(idle(&unused, "nobody_connected") <= idle(&connected, "nobody_connected").map(|it| it + 0.25));
    drop(link);
    let more = idle(&unused, "nobody_connected").map(|seconds| seconds + 0.3);
    let last = pod.scrape_until("more time without a viewer", |seen| idle(seen, "nobody_connected") > more);
    let sum = ["nobody_connected", "connected_unused"].map(|reason| idle(&last, reason).unwrap());
    assert!(Some(sum.iter().sum()) <= last.value(ALLOCATED, &[]), "{sum:?}");
}

#[test]
fn a_gpu_has_no_idle_time_if_presence_is_switched_off() {
    let sidecar = RunningSidecar::start(&unused_gpu(), &[FAST]);
    let seen = sidecar.scrape_until("allocated time", |seen| seen.value(ALLOCATED, &[]) > Some(0.3));
    assert_eq!(seen.series(IDLE).count(), 0);
    let (_, message) = sidecar.end();
    assert_eq!(message.get("presence"), None);
}

#[test]
fn presence_and_idle_time_add_at_most_12_series() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let server = pod.listen("::", PORT);
    let mut link = pod.connect(&server, POD[0]);
    let seen = kit::process::eventually("all series", || {
        link.send(10_000);
        let is_complete = |seen: &Exposition| {
            let limits = seen.series("vdi_session_stream_limited_ratio").count();
            limits == 2 && seen.series(IDLE).count() == 2
        };
        Some(pod.scrape()).filter(is_complete)
    });
    let series: usize = ROWS.iter().map(|row| seen.series(row.name).count()).sum();
    assert_eq!(series + seen.series(IDLE).count(), 12);
}

#[test]
fn the_message_has_the_connected_time_and_the_bytes() {
    let Some(pod) = DesktopPod::start_with(&PodFixture::default(), &busy_gpu(), &[]) else { return };
    let server = pod.listen("::", PORT);
    let mut link = pod.connect(&server, POD[0]);
    link.send(3_000_000);
    link.receive(70_000);
    let seen = pod.scrape_until("the bytes", |seen| {
        seen.value(TRANSMITTED, &[]) == Some(3e6) && seen.value(CONNECTED, &[]) > Some(1.0)
    });
    // The end polls once more, so the last bytes count too. The answer of the viewer acknowledges them at once.
    link.send(1000);
    link.receive(1);
    let DesktopPod { sidecar, network } = pod;
    let (_, message) = sidecar.end();
    drop((link, network));
    let text = message.to_string();
    let read = TerminationMessage::parse(&text).unwrap();
    let totals = read.presence.unwrap();
    assert_eq!((read.v, totals.transmitted, totals.received), (2, Some(3_001_000), Some(70_001)));
    assert!(totals.connected as f64 >= seen.value(CONNECTED, &[]).unwrap().floor(), "{totals:?}");
    let (first, last) = (totals.first.unwrap(), totals.last.unwrap());
    assert!(read.start <= first + 1 && first <= last && last <= read.end + 1, "{text}");
}

#[test]
fn the_page_shows_gpu_connection_and_age_without_addresses() {
    let Some(pod) = DesktopPod::start(&[("VDI_METRICS_SESSION", "alice-7")]) else { return };
    let page = || pod.network.pod.inside(|| http::get(pod.sidecar.address, "/").unwrap());
    let server = pod.listen("::", PORT);
    let _link = pod.connect(&server, POD[0]);
    pod.viewers_until(1);
    let response = kit::process::eventually("the GPU and the viewer", || {
        Some(page())
            .filter(|page| page.body.contains("NVIDIA L40S") && page.body.contains("1, connected for"))
    });
    assert_eq!((response.status, response.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    for part in
        ["alice-7", "Age", "exclusive", "100 % by this desktop", "48.0 GiB in total", " ms", "/metrics"]
    {
        assert!(response.body.contains(part), "{part} is not in\n{}", response.body);
    }
    assert!(response.body.lines().count() <= 24, "more than one screen:\n{}", response.body);
    for address in OUTSIDE.into_iter().chain(POD) {
        assert!(!response.body.contains(address), "{address} is in\n{}", response.body);
    }
}
