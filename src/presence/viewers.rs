//! Sockets in, viewers out. Pure.
//!
//! A viewer is an established connection to a port on which the desktop listens, whose peer is outside the pod, answers, and does not
//! scrape the sidecar. The track counts a viewer when two reads have seen it.

use std::time::Duration;

use super::{
    address::{Address, Endpoint},
    mesh::PodMesh,
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

/// Finds the viewers. `monitors` are peers that scrape the sidecar. Prometheus keeps its connections open between two scrapes, also
/// those to a metrics port of the desktop.
#[must_use]
pub fn find(sockets: &Sockets, ports: &Ports, monitors: &[Address]) -> Viewers {
    let rules = ViewerRules::new(sockets, ports, monitors);
    let origins: Vec<_> = sockets.connections.iter().map(|it| rules.origin(it)).collect();
    let has_outside = origins.contains(&Some(ClientOrigin::Outside));
    let is_viewer = |origin: &Option<ClientOrigin>| match origin {
        Some(ClientOrigin::Outside | ClientOrigin::PortForward) => true,
        Some(ClientOrigin::Unknown) => !has_outside,
        Some(ClientOrigin::Monitor | ClientOrigin::Proxy) | None => false,
    };
    let is_uncertain = |origin: &Option<ClientOrigin>| match origin {
        Some(ClientOrigin::Unknown | ClientOrigin::Monitor) => true,
        // A program of the desktop that has a control group of its own and only clients looks the same.
        Some(ClientOrigin::PortForward) => ports.declared.is_empty(),
        Some(ClientOrigin::Outside | ClientOrigin::Proxy) | None => false,
    };
    let confidence = match origins.iter().any(is_uncertain) {
        true => PresenceConfidence::Low,
        false => PresenceConfidence::Good,
    };
    Viewers { is_viewer: origins.iter().map(is_viewer).collect(), confidence }
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
    /// Outside the pod, or behind the proxy of a service mesh.
    Outside,
    /// Outside the pod, at an address that scrapes the sidecar. A viewer behind the same address translation (NAT) looks the same.
    Monitor,
    /// In the pod's network namespace, but not in a container: `kubectl port-forward`. The container runtime opens the connection.
    PortForward,
    /// In a container of the pod, for example a proxy. The proxy has a connection to the viewer, and that one counts.
    Proxy,
    /// In the pod's network namespace, and its control group is not known.
    Unknown,
}

struct ViewerRules<'s> {
    sockets: &'s Sockets,
    ports: &'s Ports,
    monitors: &'s [Address],
    /// The service mesh of the pod.
    mesh: Option<&'static PodMesh>,
    /// The control group of the sidecar.
    own_cgroup: Option<u64>,
    /// Both ends of each connection, from its local end, with its control group; sorted.
    ends: Vec<(Endpoint, Endpoint, Option<u64>)>,
}

// === impl ViewerRules ===

impl<'s> ViewerRules<'s> {
    fn new(sockets: &'s Sockets, ports: &'s Ports, monitors: &'s [Address]) -> Self {
        let connections = sockets.connections.iter();
        let mut ends: Vec<_> = connections.map(|it| (it.local, it.remote, it.cgroup)).collect();
        ends.sort_unstable();
        let own_cgroup = sockets.cgroups_of(ports.own).next();
        Self { sockets, ports, monitors, mesh: PodMesh::of(sockets), own_cgroup, ends }
    }

    /// The origin of a connection that can be a viewer.
    fn origin(&self, connection: &Connection) -> Option<ClientOrigin> {
        let can_be_viewer = self.can_have_viewers(connection.local.port) && is_alive(connection.answers);
        can_be_viewer.then(|| match self.client_cgroup(connection) {
            _ if connection.remote.address.is_istio_inbound() => ClientOrigin::Outside,
            Some(cgroup) => self.origin_inside(connection, cgroup),
            None if connection.remote.address.is_loopback() => ClientOrigin::Unknown,
            None => self.origin_outside(connection),
        })
    }

    /// The origin of a connection whose client is outside the pod, or behind a proxy that uses the client's address.
    fn origin_outside(&self, connection: &Connection) -> ClientOrigin {
        match self.monitors.contains(&connection.remote.address) {
            true => ClientOrigin::Monitor,
            false => ClientOrigin::Outside,
        }
    }

    /// The origin of a connection whose client is in this network namespace and has this control group.
    fn origin_inside(&self, connection: &Connection, cgroup: Option<u64>) -> ClientOrigin {
        let Connection { local, remote, .. } = connection;
        let is_loopback = remote.address.is_loopback();
        match cgroup {
            Some(cgroup) if self.is_of_mesh(cgroup) && remote.address == local.address => {
                ClientOrigin::Outside
            }
            Some(cgroup) if self.is_of_mesh(cgroup) => self.origin_outside(connection),
            Some(cgroup) if self.is_of_desktop(cgroup) => ClientOrigin::Proxy,
            Some(_) if is_loopback => ClientOrigin::PortForward,
            None if is_loopback || self.mesh.is_some() => ClientOrigin::Unknown,
            _ => ClientOrigin::Proxy,
        }
    }

    fn can_have_viewers(&self, port: u16) -> bool {
        let Ports { own, declared } = self.ports;
        port != *own
            && (declared.is_empty() || declared.contains(&port))
            && self.mesh.is_none_or(|mesh| !mesh.has(port))
            && self.sockets.is_listening(port)
    }

    /// The control group of the client, if the client's socket is in this network namespace. The control group of the sidecar is not
    /// used: on a node that has both versions of control groups, all sockets can have the same one.
    fn client_cgroup(&self, connection: &Connection) -> Option<Option<u64>> {
        let ends = (connection.remote, connection.local);
        let position = self.ends.binary_search_by(|(local, remote, _)| (*local, *remote).cmp(&ends));
        position.ok().map(|index| self.ends[index].2.filter(|cgroup| self.own_cgroup != Some(*cgroup)))
    }

    /// Whether the control group is that of the mesh's proxy.
    fn is_of_mesh(&self, cgroup: u64) -> bool {
        self.mesh.is_some_and(|mesh| self.sockets.cgroups_of(mesh.inbound).any(|it| it == cgroup))
    }

    /// Whether the control group is a container of the pod that listens. A container that only has clients cannot be distinguished from
    /// the container runtime.
    fn is_of_desktop(&self, cgroup: u64) -> bool {
        self.sockets.listeners.iter().any(|listener| listener.cgroup == Some(cgroup))
    }
}

#[cfg(test)]
mod tests;
