//! Sockets in, viewers out. Pure.
//!
//! A viewer is an established connection to a port on which the desktop listens, whose peer is outside the pod, answers, and does not
//! scrape the sidecar. The track counts a viewer when two reads have seen it.

use std::time::Duration;

use super::{
    address::{Address, Endpoint},
    sockets::{Answers, Connection, Sockets},
    vocabulary::PresenceConfidence,
};

/// Which ports can have viewers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// The sidecar's own port.
    pub own: u16,
    /// The ports that the desktop's containers declare. If empty, every listening port can have viewers.
    pub declared: Vec<u16>,
}

/// The viewers of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewers {
    /// For each connection of the read, in the same order: whether it is a viewer.
    pub is_viewer: Vec<bool>,
    /// How reliable the decision is.
    pub confidence: PresenceConfidence,
}

/// A peer that has not acknowledged data for this time is gone: the cable is unplugged, or the laptop sleeps. A peer must acknowledge
/// data within half a second (RFC 9293, 3.8.6.3), and a full receive window is probed at least every 2 minutes, usually every second.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// The same limit in retransmissions: their intervals double from 0.2 s on, so the eighth is sent 51 s or more after the data.
const MAX_UNANSWERED: u32 = 8;

/// The port on which Istio's proxy takes connections from outside the pod, and its other ports. The proxy opens a second connection from
/// `127.0.0.6` or `::6` to the desktop; that one counts.
const ISTIO_INBOUND_PORT: u16 = 15006;
const ISTIO_PORTS: [u16; 8] = [15000, 15001, 15004, ISTIO_INBOUND_PORT, 15008, 15020, 15021, 15090];

/// The peers that have a connection to the sidecar's own port: they scrape it. Peers on loopback addresses are left out, because
/// every client behind a proxy of the pod has such an address.
pub fn scrapers(sockets: &Sockets, ports: &Ports) -> impl Iterator<Item = Address> {
    let scrapes = sockets.connections.iter().filter(|connection| connection.local.port == ports.own);
    scrapes.map(|connection| connection.remote.address).filter(|address| !address.is_loopback())
}

/// Finds the viewers. `monitors` are peers that scrape the sidecar or did so a short time ago. Prometheus keeps its connections open
/// between two scrapes, also those to a metrics port of the desktop.
#[must_use]
pub fn find(sockets: &Sockets, ports: &Ports, monitors: &[Address]) -> Viewers {
    let rules = ViewerRules::new(sockets, ports, monitors);
    let outside = |connection: &Connection| {
        rules.is_candidate(connection) && rules.origin(connection) == ClientOrigin::Outside
    };
    let has_outside = sockets.connections.iter().any(outside);
    let mut confidence = PresenceConfidence::Good;
    let mut is_viewer = |connection: &Connection| {
        rules.is_candidate(connection)
            && match rules.origin(connection) {
                ClientOrigin::Outside | ClientOrigin::PortForward => true,
                ClientOrigin::Proxy => false,
                ClientOrigin::UnknownLoopback => {
                    confidence = PresenceConfidence::Low;
                    !has_outside
                }
            }
    };
    Viewers { is_viewer: sockets.connections.iter().map(&mut is_viewer).collect(), confidence }
}

/// Whether the peer still answers. A viewer of a still screen gets nothing for minutes, so it has nothing to acknowledge and is alive.
/// Only a peer that must acknowledge something and does not is gone.
fn is_alive(answers: Answers) -> bool {
    match answers {
        Answers::InTime => true,
        Answers::Outstanding(silence) => silence < MAX_SILENCE,
        Answers::Unanswered(count) => count < MAX_UNANSWERED,
    }
}

/// Where the client of a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientOrigin {
    /// Outside the pod, or behind Istio's proxy.
    Outside,
    /// In the pod's network namespace, but not in a container: `kubectl port-forward`. The container runtime opens the connection.
    PortForward,
    /// In a container of the pod, for example a proxy. The proxy has a connection to the viewer, and that one counts.
    Proxy,
    /// In the pod's network namespace, and the kernel does not give its control group.
    UnknownLoopback,
}

struct ViewerRules<'s> {
    sockets: &'s Sockets,
    ports: &'s Ports,
    monitors: &'s [Address],
    has_istio: bool,
    /// Both ends of each connection, from its local end, with its control group; sorted.
    ends: Vec<(Endpoint, Endpoint, Option<u64>)>,
}

// === impl ViewerRules ===

impl<'s> ViewerRules<'s> {
    fn new(sockets: &'s Sockets, ports: &'s Ports, monitors: &'s [Address]) -> Self {
        let connections = sockets.connections.iter();
        let mut ends: Vec<_> = connections.map(|it| (it.local, it.remote, it.cgroup)).collect();
        ends.sort_unstable();
        Self { sockets, ports, monitors, has_istio: sockets.is_listening(ISTIO_INBOUND_PORT), ends }
    }

    /// Whether the connection is a viewer if its client is outside the pod.
    fn is_candidate(&self, connection: &Connection) -> bool {
        self.can_have_viewers(connection.local.port)
            && is_alive(connection.answers)
            && !self.monitors.contains(&connection.remote.address)
    }

    fn can_have_viewers(&self, port: u16) -> bool {
        let Ports { own, declared } = self.ports;
        port != *own
            && (declared.is_empty() || declared.contains(&port))
            && !(self.has_istio && ISTIO_PORTS.contains(&port))
            && self.sockets.is_listening(port)
    }

    fn origin(&self, connection: &Connection) -> ClientOrigin {
        let client = self.client_end(connection);
        if connection.remote.address.is_istio_inbound() {
            return ClientOrigin::Outside;
        }
        match client {
            None if !connection.remote.address.is_loopback() => ClientOrigin::Outside,
            Some(Some(cgroup)) if self.is_of_desktop(cgroup) => ClientOrigin::Proxy,
            Some(Some(_)) if connection.remote.address.is_loopback() => ClientOrigin::PortForward,
            _ if connection.remote.address.is_loopback() => ClientOrigin::UnknownLoopback,
            _ => ClientOrigin::Proxy,
        }
    }

    /// The control group of the client, if the client's socket is in this network namespace.
    fn client_end(&self, connection: &Connection) -> Option<Option<u64>> {
        let ends = (connection.remote, connection.local);
        let position = self.ends.binary_search_by(|(local, remote, _)| (*local, *remote).cmp(&ends));
        position.ok().map(|index| self.ends[index].2)
    }

    /// Whether the control group is a container of the pod that listens. A container that only has clients cannot be distinguished from
    /// the container runtime.
    fn is_of_desktop(&self, cgroup: u64) -> bool {
        self.sockets.listeners.iter().any(|listener| listener.cgroup == Some(cgroup))
    }
}

#[cfg(test)]
mod tests;
