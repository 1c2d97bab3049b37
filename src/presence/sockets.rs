//! The TCP sockets of the pod at one read, as plain data. Pure.

use std::time::Duration;

use super::address::Endpoint;

/// The sockets of one read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Sockets in the state LISTEN.
    pub listeners: Vec<Listener>,
    /// Sockets in the state ESTABLISHED.
    pub connections: Vec<Connection>,
    /// Whether sockets were left out, because there are more than [`MAX_SOCKETS`].
    pub is_truncated: bool,
}

/// Maximum number of sockets that a dump keeps: 0.7 MiB. `/proc/net` keeps twice as many. A desktop has less than a hundred. A client
/// that opens thousands of connections must not fill the memory of the sidecar (its limit is 32 MiB).
pub const MAX_SOCKETS: usize = 4096;

/// A socket in the state LISTEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// ID of the control group that created the socket; none if the kernel does not give it.
    pub cgroup: Option<u64>,
}

/// A socket in the state ESTABLISHED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Identity of the socket: the cookie, which the kernel never uses again, or the inode. A source uses only one of them.
    pub identity: u64,
    /// The end of this socket.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
    /// ID of the control group that created the socket; none if the kernel does not give it.
    pub cgroup: Option<u64>,
    /// How long the peer has not answered.
    pub answers: Answers,
    /// Counters of the connection; none if the source does not have them.
    pub stream: Option<StreamCounters>,
}

/// Whether the peer acknowledges what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// The peer has acknowledged all data and probes, or has had no more than a round trip for the last ones.
    InTime,
    /// The peer has sent its last acknowledgement this long ago, and has not answered several retransmissions or probes.
    Outstanding(Duration),
    /// The peer has not answered this number of retransmissions or probes. The source does not give the time.
    Unanswered(u32),
}

/// Counters of one connection since its beginning (`struct tcp_info` in `linux/tcp.h`). A kernel without a counter gives 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Bytes that the peer has acknowledged.
    pub transmitted: u64,
    /// Bytes from the peer.
    pub received: u64,
    /// Bytes that were sent again.
    pub retransmitted: u64,
    /// Smoothed round-trip time in microseconds; 0 if it was never measured.
    pub rtt_us: u32,
    /// Microseconds in which data was on the way.
    pub busy_us: u64,
    /// Part of the busy time, in microseconds, in which the receive window of the peer was full.
    pub receiver_limited_us: u64,
    /// Part of the busy time, in microseconds, in which the send buffer was full of data that was sent and not acknowledged.
    pub buffer_limited_us: u64,
    /// Bytes in the send buffer that were not sent yet. Not a counter: the value at this read.
    pub unsent: u32,
}

// === impl Sockets ===

impl Sockets {
    /// Number of sockets.
    #[must_use]
    pub fn count(&self) -> usize {
        self.listeners.len() + self.connections.len()
    }

    /// The control groups of the sockets that listen on this port.
    pub fn cgroups_of(&self, port: u16) -> impl Iterator<Item = u64> {
        self.listeners
            .iter()
            .filter(move |listener| listener.port == port)
            .filter_map(|listener| listener.cgroup)
    }

    /// Whether a socket listens on this port. A socket on `::` also accepts IPv4, so the address does not matter. The kernel never
    /// gives the port of a listening socket to an outbound connection.
    #[must_use]
    pub fn is_listening(&self, port: u16) -> bool {
        self.listeners.iter().any(|listener| listener.port == port)
    }
}
