//! The open connections of a listener: what each of them does, since when, and which of them must end. Time is an argument.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    metrics::CloseReason,
    share::{FairShare, HoldingId, HoldingState},
};

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Open connections.
    pub(super) connections: u32,
    /// Time from the connection to the end of the handshake.
    pub(super) handshake: Duration,
    /// Time from the handshake to the end of the first request's headers.
    pub(super) first_request: Duration,
    /// Time between two requests, including the headers of the second one.
    pub(super) idle: Duration,
    /// Time from the end of a request's headers to the response.
    pub(super) request: Duration,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionPhase {
    Handshake,
    FirstRequest,
    Request,
    Idle,
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    open: FairShare<OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    phase: ConnectionPhase,
    since: Instant,
    close: oneshot::Sender<CloseReason>,
}

/// A new connection that may stay.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) id: HoldingId,
    /// Receives the reason when the connection must end.
    pub(super) must_close: oneshot::Receiver<CloseReason>,
}

// === impl Connections ===

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, open: FairShare::new(limits.connections.into()) }
    }

    /// Adds a connection. Another connection may have to end for it. `None` if no connection may end.
    pub(super) fn open(&mut self, client: IpAddr, now: Instant) -> Option<Opened> {
        let (close, must_close) = oneshot::channel();
        let phase = ConnectionPhase::Handshake;
        let grant = self.open.take(client, 1, OpenConnection { phase, since: now, close })?;
        grant.displaced.into_iter().for_each(|connection| connection.end(CloseReason::Displaced));
        Some(Opened { id: grant.id, must_close })
    }

    /// Records what a connection does from now on.
    pub(super) fn enter(&mut self, id: HoldingId, phase: ConnectionPhase, now: Instant) {
        if let Some(connection) = self.open.get_mut(id) {
            (connection.phase, connection.since) = (phase, now);
        }
        let is_active = phase == ConnectionPhase::Request;
        self.open.set_state(id, if is_active { HoldingState::Active } else { HoldingState::Idle });
    }

    /// Records that a request of the connection was answered with success.
    pub(super) fn succeeded(&mut self, id: HoldingId) {
        self.open.prove(id);
    }

    /// Removes a connection that has ended.
    pub(super) fn closed(&mut self, id: HoldingId) {
        self.open.release(id);
    }

    /// Ends every connection that has done the same for too long.
    pub(super) fn end_overdue(&mut self, now: Instant) {
        let limits = self.limits;
        let overdue = self.open.release_where(|connection| connection.overdue(&limits, now));
        overdue.into_iter().for_each(|(connection, reason)| connection.end(reason));
    }

    /// Number of open connections.
    pub(super) fn count(&self) -> usize {
        self.open.count()
    }
}

// === impl OpenConnection ===

impl OpenConnection {
    fn overdue(&self, limits: &Limits, now: Instant) -> Option<CloseReason> {
        let (limit, reason) = match self.phase {
            ConnectionPhase::Handshake => (limits.handshake, CloseReason::HandshakeTimeout),
            ConnectionPhase::FirstRequest => (limits.first_request, CloseReason::HeaderTimeout),
            ConnectionPhase::Request => (limits.request, CloseReason::RequestTimeout),
            ConnectionPhase::Idle => (limits.idle, CloseReason::Idle),
        };
        (now.saturating_duration_since(self.since) >= limit).then_some(reason)
    }

    fn end(self, reason: CloseReason) {
        // An error means that the connection has just ended.
        let _ = self.close.send(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connections: 4,
        handshake: Duration::from_secs(5),
        first_request: Duration::from_secs(10),
        idle: Duration::from_secs(120),
        request: Duration::from_secs(30),
    };

    fn client(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    #[test]
    fn each_phase_has_its_own_time() {
        let start = Instant::now();
        for (phase, seconds, expected) in [
            (ConnectionPhase::Handshake, 5, CloseReason::HandshakeTimeout),
            (ConnectionPhase::FirstRequest, 10, CloseReason::HeaderTimeout),
            (ConnectionPhase::Request, 30, CloseReason::RequestTimeout),
            (ConnectionPhase::Idle, 120, CloseReason::Idle),
        ] {
            let mut connections = Connections::new(LIMITS);
            let mut opened = connections.open(client(1), start).unwrap();
            connections.enter(opened.id, phase, start);
            connections.end_overdue(start + Duration::from_secs(seconds - 1));
            assert!(opened.must_close.try_recv().is_err(), "{phase:?}");
            connections.end_overdue(start + Duration::from_secs(seconds));
            assert_eq!(opened.must_close.try_recv(), Ok(expected), "{phase:?}");
            assert_eq!(connections.count(), 0);
        }
    }

    #[test]
    fn a_connection_with_a_request_is_displaced_last() {
        let now = Instant::now();
        let mut connections = Connections::new(LIMITS);
        let mut open = |number| connections.open(client(number), now).unwrap();
        let mut first = [1, 1, 1, 2].map(&mut open);
        connections.enter(first[0].id, ConnectionPhase::Request, now);
        connections.open(client(3), now).unwrap();
        assert_eq!(first[1].must_close.try_recv(), Ok(CloseReason::Displaced));
        connections.enter(first[2].id, ConnectionPhase::Request, now);
        connections.open(client(4), now).unwrap();
        assert_eq!(first[0].must_close.try_recv(), Ok(CloseReason::Displaced));
        assert_eq!(connections.count(), 4);
    }
}
