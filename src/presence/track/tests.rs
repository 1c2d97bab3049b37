use std::time::Duration;

use super::*;
use crate::presence::{
    address::{Address, Endpoint},
    monitors::Monitors,
    sockets::{Answers, Connection, Listener, StreamCounters},
    track::snapshot::StreamBytes,
};

mod random;

const OWN: u16 = 9478;
const PORT: u16 = 8080;
const INTERVAL: Duration = Duration::from_secs(15);

/// A session that is read every 15 seconds.
struct Session {
    track: PresenceTrack,
    monitors: Monitors,
    at: Instant,
    now: SystemTime,
}

fn viewer(identity: u64, transmitted: u64) -> Connection {
    let end = |last, port| Endpoint { address: Address::v4([10, 0, 0, last]), port };
    Connection {
        identity,
        local: end(5, PORT),
        remote: end(9, 40_000),
        cgroup: None,
        answers: Answers::InTime,
        stream: Some(StreamCounters { transmitted, rtt_us: 20_000, ..StreamCounters::default() }),
    }
}

fn dump(connections: &[Connection]) -> SocketRead {
    let listeners = [PORT, OWN].map(|port| Listener { port, cgroup: None }).to_vec();
    let sockets = Sockets { listeners, connections: connections.to_vec(), is_truncated: false };
    SocketRead {
        source: PresenceSource::SockDiag,
        passed: vec![],
        sockets: Some(sockets),
        streams_udp: false,
    }
}

// === impl Session ===

impl Session {
    fn new() -> Self {
        let track = PresenceTrack::new(Ports { own: OWN, declared: vec![] });
        let (monitors, at) = (Monitors::default(), Instant::now());
        let mut session = Self { track, monitors, at, now: SystemTime::UNIX_EPOCH };
        session.read(dump(&[]));
        session
    }

    fn read(&mut self, read: SocketRead) -> PresenceSnapshot {
        self.read_after(INTERVAL, read)
    }

    fn read_after(&mut self, interval: Duration, read: SocketRead) -> PresenceSnapshot {
        self.at += interval;
        self.now += interval;
        self.track.observe(read, &self.monitors.addresses(self.at), self.at, self.now);
        self.track.snapshot().clone()
    }

    fn poll(&mut self, connections: &[Connection]) -> PresenceSnapshot {
        self.read(dump(connections))
    }

    fn unix(&self) -> Option<SystemTime> {
        Some(self.now)
    }
}

fn transmitted(snapshot: &PresenceSnapshot) -> u64 {
    snapshot.bytes.unwrap().transmitted
}

fn connected(snapshot: &PresenceSnapshot) -> f64 {
    snapshot.connected.unwrap().as_secs_f64()
}

#[test]
fn nothing_is_known_before_the_first_read_and_zero_is_known_after_it() {
    assert_eq!(*PresenceTrack::new(Ports::default()).snapshot(), PresenceSnapshot::default());
    let seen = Session::new().poll(&[]);
    assert_eq!((seen.connections, seen.connected), (Some(0), Some(Duration::ZERO)));
    assert_eq!((seen.bytes, seen.quality), (Some(StreamBytes::default()), None));
    assert_eq!((seen.first_connected, seen.last_connected), (None, None));
}

#[test]
fn a_viewer_is_unknown_while_a_connection_was_seen_only_once() {
    let mut session = Session::new();
    let has_viewer = |session: &Session, seen: &PresenceSnapshot| seen.has_viewer(session.at, INTERVAL);
    let nobody = session.poll(&[]);
    assert_eq!(has_viewer(&session, &nobody), Some(false));
    assert_eq!(nobody.has_viewer(session.at + INTERVAL + Duration::from_secs(1), INTERVAL), None, "too old");
    let once = session.poll(&[viewer(1, 0)]);
    assert_eq!((once.connections, has_viewer(&session, &once)), (Some(0), None));
    let twice = session.poll(&[viewer(1, 0), viewer(2, 0)]);
    assert_eq!(has_viewer(&session, &twice), Some(true));
    let gone = session.poll(&[]);
    assert_eq!(has_viewer(&session, &gone), Some(false));
    let off = PresenceSnapshot::off();
    assert_eq!((has_viewer(&session, &off), PresenceSnapshot::default().read_at), (None, None));
}

#[test]
fn a_viewer_is_connected_since_the_read_that_saw_it_first() {
    let mut session = Session::new();
    session.poll(&[viewer(1, 0)]);
    let first = session.unix();
    let seen = [session.poll(&[viewer(1, 0)]), session.poll(&[viewer(1, 0), viewer(2, 0)])];
    assert_eq!(seen.map(|seen| seen.connected_since), [first; 2]);
    let second = session.poll(&[viewer(2, 0)]);
    assert_eq!((second.connected_since, second.first_connected), (first, first));
    assert_eq!(session.poll(&[]).connected_since, None);
}

/// The viewer can be among the sockets that were left out.
#[test]
fn without_a_viewer_in_a_truncated_read_the_number_is_unknown() {
    let mut session = Session::new();
    let truncated = |connections: &[Connection]| {
        let mut read = dump(connections);
        read.sockets.as_mut().unwrap().is_truncated = true;
        read
    };
    let seen = session.read(truncated(&[]));
    let method = seen.method.unwrap();
    assert_eq!((seen.connections, method.confidence), (None, Some(PresenceConfidence::Low)));
    session.read(truncated(&[viewer(1, 0)]));
    assert_eq!(session.read(truncated(&[viewer(1, 0)])).connections, Some(1));
}

/// Several reads in a row have failed.
#[test]
fn a_lost_number_of_viewers_is_unknown_and_the_totals_stay() {
    let mut session = Session::new();
    session.poll(&[viewer(1, 0)]);
    let before = session.poll(&[viewer(1, 100)]);
    session.track.lose();
    let lost = session.track.snapshot().clone();
    assert_eq!((lost.connections, lost.quality, lost.connected_since), (None, None, None));
    assert_eq!((connected(&lost), transmitted(&lost)), (connected(&before), 100));
    assert_eq!(session.poll(&[viewer(1, 300)]).connections, Some(1));
}

/// Half of the interval in which the viewer connects counts, and half of the one in which it leaves.
#[test]
fn a_viewer_counts_when_two_reads_have_seen_it() {
    let mut session = Session::new();
    let first = session.poll(&[viewer(1, 100)]);
    let first_at = session.unix();
    assert_eq!((first.connections, connected(&first), transmitted(&first)), (Some(0), 0.0, 0));
    let second = session.poll(&[viewer(1, 300)]);
    assert_eq!((second.connections, connected(&second), transmitted(&second)), (Some(1), 22.5, 300));
    assert_eq!((second.first_connected, second.last_connected), (first_at, session.unix()));
    assert_eq!(second.quality.unwrap().rtt, Some(Duration::from_millis(20)));
    let last_at = session.unix();
    let gone = session.poll(&[]);
    assert_eq!((gone.connections, connected(&gone), transmitted(&gone)), (Some(0), 30.0, 300));
    assert_eq!((gone.last_connected, gone.quality), (last_at, None));
    assert_eq!(connected(&session.poll(&[])), 30.0);
}

#[test]
fn a_connection_that_one_read_sees_is_no_viewer() {
    let mut session = Session::new();
    for identity in 1..10 {
        let seen = session.poll(&[viewer(identity, 100)]);
        assert_eq!((seen.connections, connected(&seen), transmitted(&seen)), (Some(0), 0.0, 0), "{identity}");
    }
    assert_eq!(session.track.snapshot().first_connected, None);
}

#[test]
fn a_viewer_that_connects_again_between_two_reads_loses_no_time() {
    let mut session = Session::new();
    for identity in [1, 1, 2, 2] {
        session.poll(&[viewer(identity, 0)]);
    }
    assert_eq!(connected(session.track.snapshot()), 7.5 + 3.0 * 15.0);
}

#[test]
fn a_viewer_that_stops_to_answer_and_returns_counts_its_bytes_once() {
    let mut session = Session::new();
    let silent =
        |bytes| Connection { answers: Answers::Outstanding(Duration::from_secs(70)), ..viewer(1, bytes) };
    session.poll(&[viewer(1, 100)]);
    session.poll(&[viewer(1, 200)]);
    let gone = session.poll(&[silent(250)]);
    assert_eq!((gone.connections, transmitted(&gone)), (Some(0), 250));
    session.poll(&[silent(250)]);
    session.poll(&[viewer(1, 300)]);
    let back = session.poll(&[viewer(1, 400)]);
    assert_eq!((back.connections, transmitted(&back)), (Some(1), 400));
}

#[test]
fn the_bytes_of_a_monitor_do_not_count() {
    let mut session = Session::new();
    session.monitors.add(Some([10, 0, 0, 9].into()), session.at);
    session.poll(&[viewer(1, 100)]);
    let monitored = session.poll(&[viewer(1, 200)]);
    assert_eq!((monitored.connections, transmitted(&monitored)), (Some(0), 0));
    assert_eq!(monitored.method.unwrap().confidence, Some(PresenceConfidence::Low));
    // The scrape was more than 5 minutes ago.
    for _ in 0..20 {
        session.poll(&[viewer(1, 300)]);
    }
    let later = session.poll(&[viewer(1, 350)]);
    assert_eq!((later.connections, transmitted(&later)), (Some(1), 50));
}

#[test]
fn bytes_from_before_the_first_read_of_a_source_do_not_count() {
    let mut track = PresenceTrack::new(Ports { own: OWN, declared: vec![] });
    let at = Instant::now();
    for (seconds, bytes) in [(0, 1_000_000), (15, 1_000_500)] {
        let (read, at) = (dump(&[viewer(1, bytes)]), at + Duration::from_secs(seconds));
        track.observe(read, &[], at, SystemTime::UNIX_EPOCH);
        let is_known = track.snapshot().connections.is_some();
        assert_eq!(is_known, seconds > 0, "a viewer may be connected since long before the first read");
    }
    assert_eq!((transmitted(track.snapshot()), connected(track.snapshot())), (500, 15.0));
}

#[test]
fn the_counters_stay_if_a_weaker_source_follows() {
    let mut session = Session::new();
    session.poll(&[viewer(1, 100)]);
    session.poll(&[viewer(1, 200)]);
    let by_inode = Connection { identity: 77, stream: None, ..viewer(0, 0) };
    let proc = || SocketRead { source: PresenceSource::Proc, ..dump(&[by_inode]) };
    session.read(proc());
    let seen = session.read(proc());
    assert_eq!((seen.connections, transmitted(&seen), connected(&seen)), (Some(1), 200, 52.5));
    let method = seen.method.unwrap();
    assert_eq!(method.confidence, Some(PresenceConfidence::Low));
    assert_eq!(seen.quality, None);
    session.poll(&[viewer(1, 900)]);
    assert_eq!(transmitted(&session.poll(&[viewer(1, 1000)])), 300);
}

#[test]
fn nothing_is_known_while_no_source_can_be_read() {
    let mut session = Session::new();
    session.poll(&[viewer(1, 100)]);
    session.poll(&[viewer(1, 200)]);
    let none = SocketRead { source: PresenceSource::None, sockets: None, ..dump(&[]) };
    let seen = session.read(none);
    assert_eq!((seen.connections, seen.quality), (None, None));
    assert_eq!((transmitted(&seen), connected(&seen)), (200, 22.5));
    let method = seen.method.unwrap();
    assert_eq!((method.source, method.transport), (PresenceSource::None, None));
}

#[test]
fn the_quality_is_that_of_the_viewer_that_sent_most() {
    let with = |identity, transmitted, rtt_us| {
        let stream = StreamCounters { transmitted, rtt_us, ..StreamCounters::default() };
        Connection { stream: Some(stream), ..viewer(identity, 0) }
    };
    let mut session = Session::new();
    session.poll(&[with(1, 0, 10_000), with(2, 0, 80_000)]);
    let quality = session.poll(&[with(1, 5, 10_000), with(2, 900, 80_000)]).quality.unwrap();
    assert_eq!((quality.rtt, quality.limits), (Some(Duration::from_millis(80)), None));
    let quality = session.poll(&[with(1, 1000, 10_000), with(2, 950, 80_000)]).quality.unwrap();
    assert_eq!(quality.rtt, Some(Duration::from_millis(10)));
}

/// Busy, receiver-limited and buffer-limited seconds, and unsent bytes, as Linux 6.18 counted them in 5 s.
#[test]
fn the_network_and_a_slow_viewer_are_distinguished() {
    let cases = [
        ("60 frames per second over a fast link", [0.02, 0.0, 0.0], 0, [0.0, 0.0]),
        ("a link of 4 Mbit/s that is full", [5.348, 0.0, 0.0], 435_768, [1.0, 0.0]),
        ("a link of 4 Mbit/s, sometimes with a full window", [5.0, 0.148, 0.0], 399_944, [0.97, 0.03]),
        ("a viewer that reads slowly", [6.04, 6.0, 0.0], 1_094_576, [0.01, 0.99]),
        ("a small send buffer and a long way", [5.0, 0.0, 4.0], 0, [0.8, 0.0]),
    ];
    for (name, seconds, unsent, expected) in cases {
        let [busy_us, receiver_limited_us, buffer_limited_us] = seconds.map(|it: f64| (it * 1e6) as u64);
        let now = StreamCounters {
            busy_us,
            receiver_limited_us,
            buffer_limited_us,
            unsent,
            ..StreamCounters::default()
        };
        let mut session = Session::new();
        session.poll(&[viewer(1, 0)]);
        let seen = session.poll(&[Connection { stream: Some(now), ..viewer(1, 0) }]);
        let limits = seen.quality.unwrap().limits.unwrap();
        let measured = [limits.network, limits.viewer].map(|ratio| (ratio * 100.0).round() / 100.0);
        assert_eq!(measured, expected, "{name}");
    }
}

fn streaming(connections: &[Connection]) -> SocketRead {
    SocketRead { streams_udp: true, ..dump(connections) }
}

#[test]
fn the_number_of_viewers_is_unknown_while_the_desktop_streams_over_udp() {
    let mut session = Session::new();
    let seen = session.read(streaming(&[]));
    let method = seen.method.clone().unwrap();
    assert_eq!((seen.connections, method.transport), (None, Some(Transport::Udp)));
    assert_eq!(method.confidence, Some(PresenceConfidence::Low));
    assert_eq!(connected(&seen), 0.0);
    let idle = session.poll(&[]);
    assert_eq!((idle.connections, idle.method.unwrap().transport), (Some(0), Some(Transport::Tcp)));
}

#[test]
fn udp_traffic_beside_a_viewer_is_no_hint() {
    let mut session = Session::new();
    session.read(streaming(&[viewer(1, 0)]));
    let seen = session.read(streaming(&[viewer(1, 0)]));
    assert_eq!((seen.connections, seen.method.unwrap().transport), (Some(1), Some(Transport::Tcp)));
}

/// A dump can miss a socket while the table of sockets changes.
#[test]
fn a_connection_that_one_read_does_not_have_counts_its_bytes_once() {
    let mut session = Session::new();
    session.poll(&[viewer(1, 100)]);
    session.poll(&[viewer(1, 200)]);
    session.poll(&[]);
    session.poll(&[viewer(1, 300)]);
    let back = session.poll(&[viewer(1, 400)]);
    assert_eq!((back.connections, transmitted(&back)), (Some(1), 400));
}

#[test]
fn a_truncated_read_forgets_no_viewer() {
    let mut session = Session::new();
    session.poll(&[viewer(1, 100)]);
    session.poll(&[viewer(1, 200)]);
    let mut truncated = dump(&[viewer(2, 0)]);
    truncated.sockets.as_mut().unwrap().is_truncated = true;
    session.read(truncated);
    session.poll(&[viewer(1, 300)]);
    assert_eq!(transmitted(&session.poll(&[viewer(1, 400)])), 400);
}
