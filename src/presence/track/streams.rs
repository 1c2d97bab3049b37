//! Bytes and quality of the viewers' connections, from the counters of each socket.

use std::time::Duration;

use super::snapshot::{StreamBytes, StreamLimits, StreamQuality};
use crate::presence::sockets::{Connection, MAX_SOCKETS, Sockets, StreamCounters};

/// The connections of the last read, and the sums over all viewers so far. A sum grows by the differences of the counters, so the end of
/// a connection does not change it.
#[derive(Debug, Default)]
pub(super) struct StreamTotals {
    /// Sorted by identity.
    known: Vec<KnownConnection>,
    bytes: StreamBytes,
    quality: Option<StreamQuality>,
}

#[derive(Clone, Copy, Debug)]
struct KnownConnection {
    identity: u64,
    role: Role,
    /// The counters up to which the bytes are counted.
    counted: Option<StreamCounters>,
    /// Whether the last read did not have the connection.
    is_absent: bool,
}

/// What a connection was at a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// No viewer, or a viewer that no longer answers.
    Other,
    /// A viewer that the read before has not seen: a probe of the kubelet or the load of a page ends before the next read.
    New,
    /// A viewer that two reads in a row have seen.
    Counted,
}

/// Maximum number of connections that are remembered.
const MAX_KNOWN: usize = 4 * MAX_SOCKETS;

// === impl StreamTotals ===

impl StreamTotals {
    /// Adds a read and returns the number of viewers that it and the read before have seen. `first_of_source`: whether this is the first
    /// read of its source. Then the bytes before this read do not count, because an earlier run of the sidecar or another source has
    /// counted them.
    pub(super) fn observe(&mut self, sockets: &Sockets, is_viewer: &[bool], first_of_source: bool) -> u32 {
        if first_of_source {
            self.known.clear();
        }
        let mut known = Vec::with_capacity(sockets.connections.len());
        let mut busiest: Option<Difference> = None;
        for (connection, is_viewer) in sockets.connections.iter().zip(is_viewer) {
            let earlier = self.earlier(connection.identity);
            let next = KnownConnection::next(connection, *is_viewer, earlier, first_of_source);
            if let Some(difference) = self.count(earlier, next.role, connection.stream)
                && busiest.is_none_or(|busiest| busiest.bytes.transmitted < difference.bytes.transmitted)
            {
                busiest = Some(difference);
            }
            known.push(next);
        }
        self.quality = busiest.map(Difference::quality);
        let viewers = known.iter().filter(|known| known.role == Role::Counted).count();
        self.remember(known, sockets.is_truncated);
        viewers as u32
    }

    /// The sums of the bytes.
    pub(super) fn bytes(&self) -> StreamBytes {
        self.bytes
    }

    /// Quality of the viewer's connection that sent most between the last two reads.
    pub(super) fn quality(&self) -> Option<StreamQuality> {
        self.quality
    }

    /// Whether the last read saw a viewer that the read before has not seen.
    pub(super) fn has_candidate(&self) -> bool {
        self.known.iter().any(|known| known.role == Role::New && !known.is_absent)
    }

    fn earlier(&self, identity: u64) -> Option<KnownConnection> {
        let position = self.known.binary_search_by_key(&identity, |known| known.identity).ok()?;
        Some(self.known[position])
    }

    /// Adds the bytes since the last read. Returns them if the connection is a viewer that counts. If a viewer has just stopped being one,
    /// its bytes up to this read count.
    fn count(
        &mut self,
        earlier: Option<KnownConnection>,
        role: Role,
        now: Option<StreamCounters>,
    ) -> Option<Difference> {
        let (earlier, now) = (earlier?, now?);
        if role != Role::Counted && earlier.role != Role::Counted {
            return None;
        }
        let difference = Difference::between(&earlier.counted.unwrap_or(now), &now);
        self.bytes.add(difference.bytes);
        (role == Role::Counted).then_some(difference)
    }

    /// Keeps the connections of this read. The bytes of a connection would count again when it returns. So a connection that one read
    /// does not have is kept until the next read, because a dump can miss a socket while the table of sockets changes. A truncated
    /// read may lack connections that still exist, and forgets none.
    fn remember(&mut self, mut known: Vec<KnownConnection>, is_truncated: bool) {
        known.sort_unstable_by_key(|known| known.identity);
        let is_absent =
            |it: &&KnownConnection| known.binary_search_by_key(&it.identity, |it| it.identity).is_err();
        let absent = self.known.iter().filter(|it| is_truncated || !it.is_absent).filter(is_absent);
        let absent: Vec<_> = absent.take(MAX_KNOWN.saturating_sub(known.len())).copied().collect();
        known.extend(absent.into_iter().map(|it| KnownConnection { is_absent: true, ..it }));
        known.sort_unstable_by_key(|known| known.identity);
        self.known = known;
    }
}

// === impl KnownConnection ===

impl KnownConnection {
    fn next(connection: &Connection, is_viewer: bool, earlier: Option<Self>, first_of_source: bool) -> Self {
        let role = match earlier.map(|earlier| earlier.role) {
            _ if !is_viewer => Role::Other,
            None | Some(Role::Other) => Role::New,
            Some(Role::New | Role::Counted) => Role::Counted,
        };
        let counted = match (role, earlier) {
            // The bytes since the start of the connection count at the next read.
            (Role::New, None) if !first_of_source => Some(StreamCounters::default()),
            (Role::New, Some(earlier)) => earlier.counted,
            _ => connection.stream,
        };
        Self { identity: connection.identity, role, counted, is_absent: false }
    }
}

/// Changes of a connection's counters between two reads.
#[derive(Clone, Copy, Debug)]
struct Difference {
    bytes: StreamBytes,
    rtt_us: u32,
    busy_us: u64,
    receiver_limited_us: u64,
    buffer_limited_us: u64,
    unsent: u32,
}

// === impl Difference ===

impl Difference {
    fn between(earlier: &StreamCounters, now: &StreamCounters) -> Self {
        let since = |counter: fn(&StreamCounters) -> u64| counter(now).saturating_sub(counter(earlier));
        Self {
            bytes: StreamBytes {
                transmitted: since(|it| it.transmitted),
                received: since(|it| it.received),
                retransmitted: since(|it| it.retransmitted),
            },
            rtt_us: now.rtt_us,
            busy_us: since(|it| it.busy_us),
            receiver_limited_us: since(|it| it.receiver_limited_us),
            buffer_limited_us: since(|it| it.buffer_limited_us),
            unsent: now.unsent,
        }
    }

    fn quality(self) -> StreamQuality {
        let part = |limited: u64| (limited as f64 / self.busy_us as f64).min(1.0);
        let limits =
            StreamLimits { network: part(self.network_limited_us()), viewer: part(self.receiver_limited_us) };
        StreamQuality {
            rtt: (self.rtt_us > 0).then(|| Duration::from_micros(self.rtt_us.into())),
            limits: (self.busy_us > 0).then_some(limits),
        }
    }

    /// The kernel does not count the time in which the congestion window holds data back: over a link of 4 Mbit/s that was full for 5 s,
    /// all its limits were 0. But then data waits in the send buffer, also at the read. So the remaining busy time counts if data waits.
    fn network_limited_us(self) -> u64 {
        if self.unsent > 0 {
            self.busy_us.saturating_sub(self.receiver_limited_us)
        } else {
            self.buffer_limited_us
        }
    }
}

// === impl StreamBytes ===

impl StreamBytes {
    fn add(&mut self, other: Self) {
        self.transmitted = self.transmitted.saturating_add(other.transmitted);
        self.received = self.received.saturating_add(other.received);
        self.retransmitted = self.retransmitted.saturating_add(other.retransmitted);
    }
}
