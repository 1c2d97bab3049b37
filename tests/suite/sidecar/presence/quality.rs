//! What slows a connection down.

use std::{
    io::{Read, Write, sink},
    net::TcpStream,
    thread,
    time::Duration,
};

use kit::{exposition::Exposition, network::POD, process::eventually};

use super::desktop_pod::*;

const LIMITED: &str = "vdi_session_stream_limited_ratio";

#[test]
fn a_slow_network_limits_the_stream() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let slow = "tc qdisc add dev eth0 root tbf rate 4mbit burst 10k latency 100ms";
    pod.network.pod.run(&slow.split(' ').collect::<Vec<_>>());
    let server = pod.listen("::", PORT);
    let mut link = pod.connect(&server, POD[0]);
    let mut client = link.client.try_clone().unwrap();
    let reader = thread::spawn(move || std::io::copy(&mut client, &mut sink()));
    let seen = fill_until_limited(&pod, &mut link.server, "network");
    assert!(seen.value(LIMITED, &[("by", "viewer")]) < Some(0.5));
    // A packet waits up to 100 ms in the queue of the slow link.
    assert!(seen.value(RTT, &[]) > Some(0.005));
    assert!(seen.value(TRANSMITTED, &[]) > Some(0.0));
    link.server.shutdown(std::net::Shutdown::Both).unwrap();
    drop((link, pod));
    let _: Result<u64, _> = reader.join().unwrap();
}

#[test]
fn a_viewer_that_does_not_read_limits_the_stream() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let server = pod.listen("::", PORT);
    let mut link = pod.connect(&server, POD[0]);
    let seen = fill_until_limited(&pod, &mut link.server, "viewer");
    assert!(seen.value(LIMITED, &[("by", "network")]) < Some(0.5));
    assert_eq!(seen.value(CONNECTIONS, &[]), Some(1.0));
}

#[test]
fn a_viewer_that_reads_slowly_limits_the_stream() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let server = pod.listen("::", PORT);
    let mut link = pod.connect(&server, POD[0]);
    let mut client = link.client.try_clone().unwrap();
    let reader = thread::spawn(move || {
        while client.read(&mut [0; 16 << 10]).is_ok_and(|bytes| bytes > 0) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let seen = fill_until_limited(&pod, &mut link.server, "viewer");
    assert!(seen.value(LIMITED, &[("by", "network")]) < Some(0.5));
    link.client.shutdown(std::net::Shutdown::Both).unwrap();
    reader.join().unwrap();
}

/// Keeps the send buffer full until the stream is limited by this for more than half of the time.
fn fill_until_limited(pod: &DesktopPod, server: &mut TcpStream, by: &str) -> Exposition {
    server.set_nonblocking(true).unwrap();
    eventually("a limited stream", || {
        while server.write(&[0; 4096]).is_ok() {}
        Some(pod.scrape()).filter(|seen| seen.value(LIMITED, &[("by", by)]) > Some(0.5))
    })
}
