//! A node with many sockets of other pods.
#![allow(clippy::print_stderr, reason = "the cost depends on the machine, so it is printed and not checked")]

use std::{
    thread,
    time::{Duration, Instant},
};

use kit::network::{NetworkNamespace, POD, many_connections::ManyConnections};

use super::desktop_pod::*;

/// Each connection has two sockets.
const CONNECTIONS_OF_OTHERS: usize = 12_000;

#[test]
fn sockets_of_other_pods_are_not_counted() {
    let Some(pod) = DesktopPod::start(&[]) else { return };
    let server = pod.listen("::", PORT);
    let mut first = pod.connect(&server, POD[0]);
    pod.viewers_until(1);
    let alone = cpu_us_of_a_poll(&pod);
    let other = NetworkNamespace::create();
    other.run(&["ip", "link", "set", "lo", "up"]);
    let _sockets = other.inside(|| ManyConnections::create(CONNECTIONS_OF_OTHERS));
    let crowded = cpu_us_of_a_poll(&pod);
    eprintln!(
        "CPU time of a poll of the GPU and the sockets: {alone:.0} us, with {} sockets of another pod {crowded:.0} us",
        2 * CONNECTIONS_OF_OTHERS
    );
    let _second = pod.connect(&server, POD[1]);
    first.send(98_765);
    let seen = pod.scrape_until("both viewers", |seen| {
        (seen.value(CONNECTIONS, &[]), seen.value(TRANSMITTED, &[])) == (Some(2.0), Some(98_765.0))
    });
    let good = [("source", "sock_diag"), ("transport", "tcp"), ("confidence", "good")];
    assert_eq!(seen.value(INFO, &good), Some(1.0));
}

fn cpu_us_of_a_poll(pod: &DesktopPod) -> f64 {
    let (began, before) = (Instant::now(), pod.sidecar.process.cpu_us().unwrap());
    thread::sleep(Duration::from_secs(3));
    let polls = began.elapsed().as_secs_f64() / INTERVAL.parse::<f64>().unwrap();
    (pod.sidecar.process.cpu_us().unwrap() - before) / polls
}
