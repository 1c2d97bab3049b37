//! Connections that are no viewers.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use kit::network::{OUTSIDE, POD};

use super::desktop_pod::*;

/// A kubelet probe connects, and closes the connection after the answer.
#[test]
fn probes_are_no_viewers() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let server = pod.listen("::", PORT);
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let mut probe = pod.connect(&server, POD[0]);
        probe.receive(100);
        probe.send(100);
        thread::sleep(Duration::from_millis(30));
    }
    let seen = pod.scrape();
    assert_eq!((seen.value(CONNECTIONS, &[]), seen.value(CONNECTED, &[])), (Some(0.0), Some(0.0)));
    assert_eq!(seen.value(TRANSMITTED, &[]), Some(0.0));
}

/// Prometheus keeps its connections open, to the sidecar and to a metrics port of the desktop.
#[test]
fn a_monitor_is_no_viewer() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let server = pod.listen("::", PORT);
    let mut scraper = pod.network.outside.inside(|| std::net::TcpStream::connect((POD[0], OWN)).unwrap());
    scraper.write_all(b"GET /metrics HTTP/1.1\r\nhost: pod\r\n\r\n").unwrap();
    assert!(scraper.read(&mut [0; 100]).unwrap() > 0);
    pod.wait_for_polls();
    let _link = pod.connect(&server, POD[0]);
    pod.wait_for_polls();
    assert_eq!(pod.scrape().value(CONNECTIONS, &[]), Some(0.0));
}

#[test]
fn an_outbound_connection_is_no_viewer() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let _desktop = pod.listen("::", PORT);
    let server = pod.network.outside.inside(|| TcpListener::bind((OUTSIDE[0], 443)).unwrap());
    let _link = pod.connect_inside(&server, OUTSIDE[0]);
    pod.wait_for_polls();
    assert_eq!(pod.scrape().value(CONNECTIONS, &[]), Some(0.0));
}

/// A proxy of the pod ends the connection of the viewer and opens one on loopback.
#[test]
fn a_proxy_of_the_pod_does_not_count_twice() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let (proxy, desktop) = (pod.listen("::", 3001), pod.listen("127.0.0.1", 8082));
    let viewer = pod.connect(&proxy, POD[0]);
    let _hop = pod.connect_inside(&desktop, "127.0.0.1");
    pod.viewers_until(1);
    pod.wait_for_polls();
    assert_eq!(pod.scrape().value(CONNECTIONS, &[]), Some(1.0));
    drop(viewer);
}
