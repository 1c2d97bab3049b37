//! A pod with a sidecar and servers, and clients outside of it.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use fake_nvml::Scenario;
use kit::{exposition::Exposition, network::PodNetwork, process::eventually};
use vdi_metrics::contract::env;

use crate::sidecar::{driver_scenarios::busy_gpu, pod_fixture::PodFixture, running_sidecar::*};

pub(super) const CONNECTIONS: &str = "vdi_session_connections";
pub(super) const CONNECTED: &str = "vdi_session_connected_seconds_total";
pub(super) const TRANSMITTED: &str = "vdi_session_stream_transmit_bytes_total";
pub(super) const RECEIVED: &str = "vdi_session_stream_receive_bytes_total";
pub(super) const RETRANSMITTED: &str = "vdi_session_stream_retransmitted_bytes_total";
pub(super) const RTT: &str = "vdi_session_stream_rtt_seconds";
pub(super) const INFO: &str = "vdi_session_presence_info";

/// The sidecar's port, and a port of the desktop.
pub(super) const OWN: u16 = 9478;
pub(super) const PORT: u16 = 6901;

/// Seconds between two polls.
pub(super) const INTERVAL: &str = "0.1";

/// A desktop pod and a machine outside of it.
pub(super) struct DesktopPod {
    pub(super) network: PodNetwork,
    pub(super) sidecar: RunningSidecar,
}

/// A connection: the end of the desktop, and that of the client.
pub(super) struct Link {
    pub(super) server: TcpStream,
    pub(super) client: TcpStream,
}

// === impl DesktopPod ===

impl DesktopPod {
    /// Starts the sidecar in a namespace; none if this process must not create one.
    pub(super) fn start(settings: &[(&str, &str)]) -> Option<Self> {
        Self::start_with(&PodFixture::default(), &busy_gpu(), settings)
    }

    pub(super) fn start_with(
        fixture: &PodFixture,
        scenario: &Scenario,
        settings: &[(&str, &str)],
    ) -> Option<Self> {
        let network = PodNetwork::create()?;
        let listen = format!("[::]:{OWN}");
        let defaults = [(env::PRESENCE, "auto"), (env::LISTEN, &listen), (env::INTERVAL, INTERVAL)];
        let settings = [&defaults, settings].concat();
        let sidecar = network.pod.inside(|| RunningSidecar::start_in_pod(fixture, scenario, &settings));
        let pod = Self { network, sidecar };
        pod.scrape_until("the first poll", |seen| seen.series(INFO).next().is_some());
        Some(pod)
    }

    /// A server of the desktop at this address.
    pub(super) fn listen(&self, address: &str, port: u16) -> TcpListener {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        self.network.pod.inside(|| TcpListener::bind(address).unwrap())
    }

    /// Connects a client outside of the pod.
    pub(super) fn connect(&self, listener: &TcpListener, address: &str) -> Link {
        self.network.outside.inside(|| link(listener, address))
    }

    /// Connects a client in the pod.
    pub(super) fn connect_inside(&self, listener: &TcpListener, address: &str) -> Link {
        self.network.pod.inside(|| link(listener, address))
    }

    pub(super) fn scrape(&self) -> Exposition {
        self.network.pod.inside(|| self.sidecar.scrape())
    }

    /// Scrapes until `probe` accepts the exposition.
    pub(super) fn scrape_until(&self, what: &str, probe: impl Fn(&Exposition) -> bool) -> Exposition {
        eventually(what, || Some(self.scrape()).filter(&probe))
    }

    /// Waits until the number of viewers is this one.
    pub(super) fn viewers_until(&self, count: u32) -> Exposition {
        let what = format!("{count} viewers");
        self.scrape_until(&what, |seen| seen.value(CONNECTIONS, &[]) == Some(f64::from(count)))
    }

    /// Waits for several polls.
    pub(super) fn wait_for_polls(&self) {
        thread::sleep(Duration::from_secs_f64(5.0 * INTERVAL.parse::<f64>().unwrap()));
    }
}

fn link(listener: &TcpListener, address: &str) -> Link {
    let address: IpAddr = address.parse().unwrap();
    let client = TcpStream::connect((address, listener.local_addr().unwrap().port())).unwrap();
    Link { server: listener.accept().unwrap().0, client }
}

// === impl Link ===

impl Link {
    /// Sends bytes to the client, which reads them.
    pub(super) fn send(&mut self, bytes: usize) {
        transfer(&mut self.server, &mut self.client, bytes);
    }

    /// Sends bytes to the desktop, which reads them.
    pub(super) fn receive(&mut self, bytes: usize) {
        transfer(&mut self.client, &mut self.server, bytes);
    }
}

fn transfer(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) {
    thread::scope(|scope| {
        scope.spawn(|| from.write_all(&vec![b'x'; bytes]).unwrap());
        to.read_exact(&mut vec![0; bytes]).unwrap();
    });
}
