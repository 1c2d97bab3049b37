//! Integrates the reads of a session: connected time, bytes and the quality of the connection. Pure; time is an argument.

mod connected_time;
pub mod snapshot;
mod streams;

use std::time::{Instant, SystemTime};

use self::{
    connected_time::ConnectedTime,
    snapshot::{Method, PresenceSnapshot},
    streams::StreamTotals,
};
use super::{
    address::Address,
    sockets::Sockets,
    viewers::{self, Ports, Viewers},
    vocabulary::{PassedReason, PresenceConfidence, PresenceSource, Transport},
};

/// What one read has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketRead {
    /// The source of the sockets.
    pub source: PresenceSource,
    /// The better sources, each with the reason why it is not used.
    pub passed: Vec<(PresenceSource, PassedReason)>,
    /// The sockets; none if no source can be read.
    pub sockets: Option<Sockets>,
    /// Whether a UDP socket can serve viewers and the pod sends as many datagrams as a stream has.
    pub streams_udp: bool,
}

/// The state between two reads.
#[derive(Debug)]
pub struct PresenceTrack {
    ports: Ports,
    streams: StreamTotals,
    time: ConnectedTime,
    /// The source of the last read. Identities of different sources have nothing in common.
    source: Option<PresenceSource>,
    snapshot: PresenceSnapshot,
}

// === impl PresenceTrack ===

impl PresenceTrack {
    /// A session of which nothing has been read.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        Self {
            ports,
            streams: StreamTotals::default(),
            time: ConnectedTime::default(),
            source: None,
            snapshot: PresenceSnapshot::default(),
        }
    }

    /// Adds a read at the time `at`; `now` is the same time on the system's clock. `monitors` are peers that scrape the sidecar. A read
    /// without a result is not added: the next read then covers a longer time.
    pub fn observe(&mut self, read: SocketRead, monitors: &[Address], at: Instant, now: SystemTime) {
        let SocketRead { source, passed, sockets, streams_udp } = read;
        self.snapshot.read_at = Some(at);
        let first_of_source = self.source.replace(source) != Some(source);
        let method = match sockets {
            Some(sockets) => {
                let viewers = viewers::find(&sockets, &self.ports, monitors);
                self.add(&sockets, &viewers, first_of_source, streams_udp, (at, now))
            }
            None => {
                self.lose();
                (None, None)
            }
        };
        self.snapshot.method = Some(Method { source, transport: method.0, confidence: method.1, passed });
    }

    /// The number of viewers is not known any more. Totals stay.
    pub fn lose(&mut self) {
        self.time.interrupt();
        self.snapshot.connections = None;
        self.snapshot.quality = None;
        self.snapshot.connected_since = None;
    }

    /// The results so far.
    #[must_use]
    pub fn snapshot(&self) -> &PresenceSnapshot {
        &self.snapshot
    }

    fn add(
        &mut self,
        sockets: &Sockets,
        viewers: &Viewers,
        first_of_source: bool,
        streams_udp: bool,
        (at, now): (Instant, SystemTime),
    ) -> (Option<Transport>, Option<PresenceConfidence>) {
        let counted = self.streams.observe(sockets, &viewers.is_viewer, first_of_source);
        let snapshot = &mut self.snapshot;
        if self.source == Some(PresenceSource::SockDiag) {
            snapshot.bytes = Some(self.streams.bytes());
        }
        snapshot.quality = self.streams.quality();
        snapshot.has_candidate = self.streams.has_candidate();
        let is_udp = counted == 0 && streams_udp;
        // The viewer can be among the sockets that were left out.
        let is_unknown = is_udp || (counted == 0 && sockets.is_truncated);
        // A viewer may be connected since long before the first read.
        let is_undecided = first_of_source && snapshot.has_candidate;
        snapshot.connections = (!is_unknown && !is_undecided).then_some(counted);
        if is_unknown {
            self.time.interrupt();
        } else {
            self.time.observe(counted > 0, at, now);
        }
        (snapshot.connected, snapshot.first_connected, snapshot.last_connected) = self.time.totals();
        snapshot.connected_since = self.time.since();
        let (transport, confidence) = if is_udp {
            (Transport::Udp, PresenceConfidence::Low)
        } else if sockets.is_truncated || self.source == Some(PresenceSource::Proc) {
            (Transport::Tcp, PresenceConfidence::Low)
        } else {
            (Transport::Tcp, viewers.confidence)
        };
        (Some(transport), Some(confidence))
    }
}

#[cfg(test)]
mod tests;
