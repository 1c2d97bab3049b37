//! Service meshes whose proxy is in the pod's network namespace. The proxy takes every connection from outside the pod and opens another
//! one to the desktop. The second one counts: the first one can carry several, or none (HTTP/2 between two proxies).

use super::sockets::Sockets;

/// The ports on which the proxy of a mesh listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PodMesh {
    /// Takes the connections from outside the pod.
    pub(super) inbound: u16,
    /// Takes the connections to the outside.
    outbound: u16,
    others: &'static [u16],
}

/// Istio's sidecar, and its ztunnel in ambient mode (`istio/ztunnel: src/config.rs`). Linkerd's proxy (`linkerd/linkerd2:
/// charts/linkerd-control-plane/values.yaml`).
const MESHES: [PodMesh; 2] = [
    PodMesh { inbound: 15006, outbound: 15001, others: &[15000, 15004, 15008, 15020, 15021, 15053, 15090] },
    PodMesh { inbound: 4143, outbound: 4140, others: &[4190, 4191] },
];

// === impl PodMesh ===

impl PodMesh {
    /// The mesh of the pod: its proxy listens on the inbound and on the outbound port.
    pub(super) fn of(sockets: &Sockets) -> Option<&'static Self> {
        MESHES.iter().find(|mesh| sockets.is_listening(mesh.inbound) && sockets.is_listening(mesh.outbound))
    }

    /// Whether the proxy listens on this port. A connection to such a port is no viewer.
    pub(super) fn has(&self, port: u16) -> bool {
        port == self.inbound || port == self.outbound || self.others.contains(&port)
    }
}
