//! Whether the desktop probably streams by UDP.

use std::time::Instant;

/// UDP traffic of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRead {
    /// Whether a socket can serve viewers.
    pub has_server: bool,
    /// Number of datagrams that were sent since the start of the pod.
    pub sent: u64,
}

/// The rate of the datagrams that the pod sends.
#[derive(Debug, Default)]
pub(super) struct UdpRate {
    last: Option<(Instant, u64)>,
}

/// Datagrams per second of a stream. A stream has at least one datagram for each frame, and Moonlight's audio alone has 100 to 200 per
/// second (`AudioPacketDuration` 5 or 10 ms in `moonlight-common-c`). DNS and NTP need less than one.
const MIN_RATE: f64 = 20.0;

// === impl UdpRate ===

impl UdpRate {
    /// Adds a read. Returns whether a socket can serve viewers and the rate since the read before is that of a stream.
    pub(super) fn observe(&mut self, read: Option<UdpRead>, at: Instant) -> bool {
        let last = std::mem::replace(&mut self.last, read.map(|read| (at, read.sent)));
        let (Some(read), Some((last_at, last_sent))) = (read, last) else { return false };
        let seconds = at.saturating_duration_since(last_at).as_secs_f64();
        read.has_server && read.sent.saturating_sub(last_sent) as f64 >= MIN_RATE * seconds.max(1e-3)
    }
}
