//! The published results. A value that is not known is none.

use std::time::{Duration, Instant, SystemTime};

use crate::presence::vocabulary::{PassedReason, PresenceConfidence, PresenceSource, Transport};

/// The presence of a session after one read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PresenceSnapshot {
    /// How the last read was made; none before the first read.
    pub method: Option<Method>,
    /// Time of the last read; none before the first read.
    pub read_at: Option<Instant>,
    /// Number of viewers at the last read.
    pub connections: Option<u32>,
    /// Whether the last read saw a connection that will count as a viewer if the next read sees it too.
    pub has_candidate: bool,
    /// Time for which at least one viewer was connected.
    pub connected: Option<Duration>,
    /// Time of the first read that saw a viewer.
    pub first_connected: Option<SystemTime>,
    /// Time of the last read that saw a viewer.
    pub last_connected: Option<SystemTime>,
    /// Time since which at least one viewer has been connected at every read; none without a viewer.
    pub connected_since: Option<SystemTime>,
    /// Totals of the bytes of all viewers; none if no source has given bytes.
    pub bytes: Option<StreamBytes>,
    /// Quality of the connection of the viewer that got most bytes since the read before; none without a viewer.
    pub quality: Option<StreamQuality>,
}

/// How a read was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// The source of the sockets.
    pub source: PresenceSource,
    /// How viewers connect; none if nothing was read.
    pub transport: Option<Transport>,
    /// How reliable the number of viewers is; none if nothing was read.
    pub confidence: Option<PresenceConfidence>,
    /// The better sources, each with the reason why it is not used.
    pub passed: Vec<(PresenceSource, PassedReason)>,
}

/// Bytes of all viewers since the sidecar started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamBytes {
    /// Bytes to the viewers that they have acknowledged.
    pub transmitted: u64,
    /// Bytes from the viewers.
    pub received: u64,
    /// Bytes to the viewers that were sent again.
    pub retransmitted: u64,
}

/// Quality of one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamQuality {
    /// Smoothed round-trip time to the peer; none if it was never measured.
    pub rtt: Option<Duration>,
    /// How the connection was limited since the read before; none if nothing was sent.
    pub limits: Option<StreamLimits>,
}

/// Parts of the time in which data was on the way, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamLimits {
    /// The desktop waited, because the network took no more data.
    pub network: f64,
    /// The desktop waited, because the viewer did not read.
    pub viewer: f64,
}

// === impl PresenceSnapshot ===

impl PresenceSnapshot {
    /// The snapshot if presence is switched off.
    #[must_use]
    pub fn off() -> Self {
        let method =
            Method { source: PresenceSource::Off, transport: None, confidence: None, passed: vec![] };
        Self { method: Some(method), ..Self::default() }
    }

    /// Whether a viewer is connected at `now`. None if it is not known: the last read is older than `max_age`, its result is unknown, or
    /// it saw a connection that may be a viewer.
    #[must_use]
    pub fn has_viewer(&self, now: Instant, max_age: Duration) -> Option<bool> {
        let age = now.saturating_duration_since(self.read_at?);
        match self.connections? {
            _ if age > max_age => None,
            0 if self.has_candidate => None,
            viewers => Some(viewers > 0),
        }
    }
}
