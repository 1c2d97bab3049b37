//! The sidecar with mutated dumps of sockets. The sums of the viewers must not fall, and a dump has no more sockets than bytes.

use std::time::{Duration, Instant, SystemTime};

use vdi_metrics::presence::{
    Ports, PresenceSnapshot,
    diag_message::{self, DumpProgress},
    sockets::{MAX_SOCKETS, Sockets},
    track::{PresenceTrack, SocketRead},
    vocabulary::PresenceSource,
};

use crate::{
    mutate::{self, Change},
    target::{CheckResult, Target},
};

/// Dumps of the kernel.
#[derive(Debug)]
pub(crate) struct Dumps;

/// Minimum bytes of a socket: the header of its message and `struct inet_diag_msg`.
const SOCKET_BYTES: usize = 16 + 72;

/// The dumps with which the unit tests of `diag_message` work.
const RECORDED: [&[u8]; 2] =
    [include_bytes!("../../sockets/inet.dump"), include_bytes!("../../sockets/error.dump")];

impl Target for Dumps {
    const NAME: &str = "dumps";
    const RESULTS: [&str; 2] = ["complete", "without an end"];
    const CHANGE: Change = mutate::binary;

    fn seeds(&self) -> Vec<Vec<u8>> {
        RECORDED.map(<[u8]>::to_vec).into()
    }

    fn check(&self, input: &[u8]) -> CheckResult {
        let mut sockets = Sockets::default();
        let parsed = diag_message::parse(input, &mut sockets);
        let count = sockets.count();
        assert!(count <= MAX_SOCKETS.min(input.len() / SOCKET_BYTES), "{count} sockets");
        let Ok(progress) = parsed else { return CheckResult::Rejected };
        let none = Sockets::default();
        check_sums([&sockets, &none, &sockets, &sockets, &none]);
        if progress == DumpProgress::Done { CheckResult::First } else { CheckResult::Second }
    }

    fn check_further(&self, _input: &[u8], _number: usize, _is_new: bool) {}
}

/// Checks that no sum falls over these reads.
fn check_sums(reads: [&Sockets; 5]) {
    let mut track = PresenceTrack::new(Ports { own: 9478, declared: vec![] });
    let (mut at, mut earlier) = (Instant::now(), PresenceSnapshot::default());
    for sockets in reads {
        at += Duration::from_secs(15);
        let read = SocketRead {
            source: PresenceSource::SockDiag,
            passed: vec![],
            sockets: Some(sockets.clone()),
            streams_udp: false,
        };
        track.observe(read, &[], at, SystemTime::UNIX_EPOCH);
        let seen = track.snapshot();
        assert!(seen.connected >= earlier.connected);
        let bytes = |snapshot: &PresenceSnapshot| {
            snapshot.bytes.map(|bytes| [bytes.transmitted, bytes.received, bytes.retransmitted])
        };
        let (old, new) = (bytes(&earlier).unwrap_or_default(), bytes(seen).unwrap_or_default());
        assert!(old.iter().zip(new).all(|(old, new)| *old <= new), "{old:?} falls to {new:?}");
        assert!(seen.connections.is_none_or(|count| count as usize <= sockets.connections.len()));
        earlier = seen.clone();
    }
}
