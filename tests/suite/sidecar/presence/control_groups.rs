//! Clients in the pod's network namespace. The control group of the client decides whether its connection counts. Each container
//! has one. The container runtime and the proxy of a service mesh on the node have one too.

use std::net::TcpStream;

use kit::{
    cluster::PROBE,
    network::{
        POD,
        control_group::{command, starter},
    },
    process::{Process, eventually},
};
use vdi_metrics::contract::env;

use super::desktop_pod::*;
use crate::sidecar::{driver_scenarios::busy_gpu, pod_fixture::PodFixture};

/// Time for which a client stays connected. The test ends the client before.
const LONG: &str = "600";

/// A desktop pod with the processes of its containers.
struct ContainerPod {
    pod: DesktopPod,
    processes: Vec<Process>,
}

// === impl ContainerPod ===

impl ContainerPod {
    /// Starts a desktop that streams; none if this process is not root.
    fn start() -> Option<Self> {
        let fixture = PodFixture::wrapped(starter("sidecar"));
        let pod = DesktopPod::start_with(&fixture, &busy_gpu(), &[(env::PORTS, "6901")])?;
        let mut pod = Self { pod, processes: vec![] };
        pod.run("desktop", &["stream", "6901", ""]);
        drop(pod.connect_from_outside(PORT));
        Some(pod)
    }

    /// Runs the test program in a control group.
    fn run(&mut self, group: &str, arguments: &[&str]) {
        let start = || Process::spawn(command(group, PROBE).args(arguments));
        self.processes.push(self.pod.network.pod.inside(start));
    }

    /// Connects a client outside of the pod as soon as the port listens.
    fn connect_from_outside(&self, port: u16) -> TcpStream {
        let connect = || TcpStream::connect((POD[0], port)).ok();
        eventually("the port listens", || self.pod.network.outside.inside(connect))
    }

    /// Waits until the sidecar has seen the client of the process that was started last. Returns the number of viewers, and whether it is
    /// reliable.
    fn viewers(&self) -> (Option<f64>, bool) {
        let is_connected = || {
            let listed = self.pod.network.pod.inside(|| std::fs::read_to_string("/proc/thread-self/net/tcp"));
            // A connection to port 6901 in the state ESTABLISHED.
            listed.unwrap().contains(":1AF5 01 ").then_some(())
        };
        eventually("the client is connected", is_connected);
        self.pod.wait_for_polls();
        let seen = self.pod.scrape();
        let good = [("source", "sock_diag"), ("transport", "tcp"), ("confidence", "good")];
        (seen.value(CONNECTIONS, &[]), seen.value(INFO, &good).is_some())
    }
}

#[test]
fn a_port_forward_is_a_viewer() {
    let Some(mut pod) = ContainerPod::start() else { return };
    pod.run("runtime", &["watch", "127.0.0.1", "6901", LONG]);
    assert_eq!(pod.viewers(), (Some(1.0), true));
}

/// The proxy has no viewer itself, so the connection to the desktop could be the only one.
#[test]
fn a_proxy_in_another_container_is_no_viewer() {
    let Some(mut pod) = ContainerPod::start() else { return };
    pod.run("proxy", &["serve", "3001", ""]);
    pod.run("proxy", &["watch", "127.0.0.1", "6901", LONG]);
    assert_eq!(pod.viewers(), (Some(0.0), true));
}

/// Linkerd's proxy connects from the address of the pod.
#[test]
fn a_viewer_behind_linkerd_counts_once() {
    let Some(mut pod) = ContainerPod::start() else { return };
    pod.run("linkerd", &["serve", "4140", ""]);
    pod.run("linkerd", &["serve", "4143", ""]);
    pod.run("linkerd", &["watch", POD[0], "6901", LONG]);
    let _to_proxy = pod.connect_from_outside(4143);
    assert_eq!(pod.viewers(), (Some(1.0), true));
}

/// Istio's ztunnel enters the network namespace of the pod and connects from the address of the client.
#[test]
fn a_viewer_behind_ztunnel_counts_once() {
    let Some(mut pod) = ContainerPod::start() else { return };
    let network = &pod.pod.network.pod;
    network.run(&["ip", "address", "add", "10.99.0.9/32", "dev", "lo"]);
    // A client without an address of its own takes the one of the route.
    network.run(&[
        "ip",
        "route",
        "change",
        "local",
        POD[0],
        "dev",
        "eth0",
        "table",
        "local",
        "src",
        "10.99.0.9",
    ]);
    ["15001", "15006", "15008"].iter().for_each(|port| pod.run("ztunnel", &["serve", port, ""]));
    let _to_proxy = pod.connect_from_outside(15008);
    pod.run("ztunnel", &["watch", POD[0], "6901", LONG]);
    assert_eq!(pod.viewers(), (Some(1.0), true));
}
