//! Where the connections are read, and what is exposed about it.

use kit::network::{POD, deny_netlink};
use vdi_metrics::{contract::env, presence::catalogue::ROWS};

use super::desktop_pod::*;
use crate::sidecar::{driver_scenarios::busy_gpu, pod_fixture::PodFixture, running_sidecar::RunningSidecar};

#[test]
fn nothing_is_read_if_presence_is_switched_off() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[(env::PRESENCE, "off")]);
    let seen = sidecar.first_poll();
    let series: Vec<_> = ROWS.iter().flat_map(|row| seen.series(row.name)).collect();
    assert_eq!(series.len(), 1);
    assert_eq!(seen.value(INFO, &[("source", "off")]), Some(1.0));
}

#[test]
fn presence_adds_10_series() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let server = pod.listen("::", PORT);
    let mut link = pod.connect(&server, POD[0]);
    let seen = kit::process::eventually("all series", || {
        link.send(10_000);
        Some(pod.scrape()).filter(|seen| seen.series("vdi_session_stream_limited_ratio").count() == 2)
    });
    let series: usize = ROWS.iter().map(|row| seen.series(row.name).count()).sum();
    assert_eq!(series, 10);
    let good = [("source", "sock_diag"), ("transport", "tcp"), ("confidence", "good")];
    assert_eq!(seen.value(INFO, &good), Some(1.0));
}

/// `EACCES` of SELinux and `EPROTONOSUPPORT` of gVisor. `/proc/net` has the connections, and no bytes.
#[test]
fn viewers_count_without_the_dump() {
    let folder = kit::tempfile::tempdir().unwrap();
    for (errno, reason) in [("13", "not_permitted"), ("93", "not_supported")] {
        let fixture = PodFixture::wrapped(vec![deny_netlink(folder.path()).into(), errno.into()]);
        let Some(pod) = DesktopPod::start_with(&fixture, &busy_gpu(), &[]) else { return };
        let server = pod.listen("::", PORT);
        let mut links = [pod.connect(&server, POD[0]), pod.connect(&server, POD[1])];
        links[0].send(5000);
        let seen = pod.viewers_until(2);
        let low = [("source", "proc"), ("transport", "tcp"), ("confidence", "low")];
        assert_eq!(seen.value(INFO, &low), Some(1.0));
        let passed = [("source", "sock_diag"), ("reason", reason)];
        assert_eq!(seen.value("vdi_session_presence_passed_info", &passed), Some(1.0));
        assert_eq!((seen.value(TRANSMITTED, &[]), seen.value(RECEIVED, &[])), (None, None));
        drop(links);
        assert!(pod.viewers_until(0).value(CONNECTED, &[]) > Some(0.0));
    }
}
