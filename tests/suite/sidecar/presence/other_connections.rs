//! Connections that are no viewers.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use kit::network::{OUTSIDE, POD};
use vdi_metrics::contract::METRICS_PATH;

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

/// Prometheus can have connections to the sidecar and to a metrics port of the desktop. Here no poll sees the one to the sidecar.
#[test]
fn a_monitor_is_no_viewer() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let server = pod.listen("::", PORT);
    request(&pod, METRICS_PATH, "X-Prometheus-Scrape-Timeout-Seconds: 10\r\n");
    let _link = pod.connect(&server, POD[0]);
    pod.wait_for_polls();
    let seen = pod.scrape();
    let low = [("source", "sock_diag"), ("transport", "tcp"), ("confidence", "low")];
    assert_eq!((seen.value(CONNECTIONS, &[]), seen.value(INFO, &low)), (Some(0.0), Some(1.0)));
}

/// The kubelet has the address of the node, and so can have viewers behind a node port. A person can open the page and the metrics.
#[test]
fn a_client_that_does_not_scrape_is_no_monitor() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let server = pod.listen("::", PORT);
    ["/", "/healthz", "/readyz", METRICS_PATH].iter().for_each(|path| request(&pod, path, ""));
    let _link = pod.connect(&server, POD[0]);
    pod.viewers_until(1);
}

fn request(pod: &DesktopPod, path: &str, header: &str) {
    let mut stream = pod.network.outside.inside(|| TcpStream::connect((POD[0], OWN)).unwrap());
    write!(stream, "GET {path} HTTP/1.1\r\nHost: pod\r\n{header}Connection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{path}: {response}");
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
