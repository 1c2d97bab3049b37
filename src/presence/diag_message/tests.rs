use super::*;

/// Recorded on Linux 6.18: `[::]:8080` and `127.0.0.1:5900` listen, with three connections from the same control group. One sent 1000
/// bytes and got 300, one has stopped to read, and one got 70,000 bytes. The last message is in a datagram of its own.
const DUMP: &[u8] = include_bytes!("../../../tests/sockets/inet.dump");

/// The answer to a request for a protocol that does not exist.
const ERROR: &[u8] = include_bytes!("../../../tests/sockets/error.dump");

/// ID of the control group in the recording.
const CGROUP: Option<u64> = Some(18_531);

fn read(dump: &[u8]) -> Result<Sockets, DiagError> {
    let mut sockets = Sockets::default();
    assert_eq!(parse(dump, &mut sockets)?, DumpProgress::Done);
    Ok(sockets)
}

fn connection(sockets: &Sockets, port: u16, remote: Address) -> Connection {
    let mut connections = sockets.connections.iter();
    *connections.find(|it| it.local.port == port && it.remote.address == remote).unwrap()
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = (HEADER_BYTES + payload.len()) as u32;
    let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
    [&header, payload].concat()
}

#[test]
fn a_recorded_dump_has_every_socket() {
    let sockets = read(DUMP).unwrap();
    let listener = |port| Listener { port, cgroup: CGROUP };
    assert_eq!(
        (&sockets.listeners[..], sockets.is_truncated),
        (&[listener(5900), listener(8080)][..], false)
    );
    assert!(sockets.connections.iter().all(|it| it.cgroup == CGROUP));
    let mut identities: Vec<_> = sockets.connections.iter().map(|it| it.identity).collect();
    identities.sort_unstable();
    identities.dedup();
    assert_eq!((sockets.connections.len(), identities.len()), (6, 6));
}

#[test]
fn a_recorded_connection_has_its_bytes_and_times() {
    let loopback = Address::v4([127, 0, 0, 1]);
    let web = connection(&read(DUMP).unwrap(), 8080, loopback);
    let stream = web.stream.unwrap();
    assert_eq!((stream.transmitted, stream.received, stream.retransmitted), (1000, 300, 0));
    assert!((1..100_000).contains(&stream.rtt_us), "{stream:?}");
    assert_eq!(web.answers, Answers::InTime);
    let vnc = connection(&read(DUMP).unwrap(), 5900, loopback);
    assert_eq!((vnc.stream.unwrap().transmitted, vnc.answers), (70_000, Answers::InTime));
}

/// The reader has stopped, so its receive window is full. The peer still answers the probes.
#[test]
fn a_recorded_connection_that_waits_for_its_reader_answers() {
    let sockets = read(DUMP).unwrap();
    let stopped = connection(&sockets, 8080, Address::v6(1_u128.to_be_bytes()));
    assert_eq!(stopped.answers, Answers::InTime);
    let stream = stopped.stream.unwrap();
    assert!(stream.receiver_limited_us > stream.busy_us / 2, "{stream:?}");
    assert_eq!(stream.buffer_limited_us, 0);
}

#[test]
fn an_error_is_reported_with_its_number() {
    let mut none = Sockets::default();
    assert_eq!(parse(ERROR, &mut none), Err(DiagError::Errno(2)));
    let denied = message(NLMSG_ERROR, 0, &(-13_i32).to_ne_bytes());
    assert_eq!(parse(&denied, &mut none), Err(DiagError::Errno(13)));
    let acknowledgement = message(NLMSG_ERROR, 0, &0_i32.to_ne_bytes());
    assert_eq!(parse(&acknowledgement, &mut none), Err(DiagError::Malformed));
    let smallest = message(NLMSG_ERROR, 0, &i32::MIN.to_ne_bytes());
    assert_eq!(parse(&smallest, &mut none), Err(DiagError::Malformed));
    assert_eq!(none, Sockets::default());
}

#[test]
fn an_interrupted_dump_is_not_used() {
    let mut sockets = Sockets::default();
    let last = message(NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4]);
    assert_eq!(parse(&last, &mut sockets), Err(DiagError::Interrupted));
}

#[test]
fn a_datagram_without_an_end_continues() {
    let done = message(NLMSG_DONE, 0, &[0; 4]);
    let without = &DUMP[..DUMP.len() - done.len()];
    let mut sockets = Sockets::default();
    assert_eq!(parse(without, &mut sockets), Ok(DumpProgress::More));
    assert_eq!(sockets.connections.len(), 6);
    assert_eq!(parse(&message(1, 0, &[]), &mut sockets), Ok(DumpProgress::More));
    assert_eq!(parse(&done, &mut sockets), Ok(DumpProgress::Done));
}

/// Every prefix of a recording, and every value of a length field.
#[test]
fn a_truncated_or_wrong_length_is_an_error() {
    for end in 1..DUMP.len() {
        let parsed = parse(&DUMP[..end], &mut Sockets::default());
        let at_boundary = parsed == Ok(DumpProgress::More);
        // The payload of the last message is optional.
        assert!(at_boundary || parsed == Err(DiagError::Malformed), "{end}: {parsed:?}");
    }
    for length in (0..16).chain([DUMP.len() as u32 + 1, u32::MAX]) {
        let mut changed = DUMP.to_vec();
        changed[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(parse(&changed, &mut Sockets::default()), Err(DiagError::Malformed));
    }
    for length in [0_u16, 1, 3, 500, u16::MAX] {
        let mut changed = DUMP.to_vec();
        let attribute = HEADER_BYTES + SOCKET_BYTES;
        changed[attribute..attribute + 2].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(parse(&changed, &mut Sockets::default()), Err(DiagError::Malformed));
    }
}

#[test]
fn a_dump_is_truncated_at_the_maximum() {
    let mut socket = vec![0; SOCKET_BYTES];
    (socket[0], socket[1]) = (AF_INET, TCP_ESTABLISHED);
    let datagram = message(TCPDIAG_GETSOCK, 0, &socket).repeat(MAX_SOCKETS + 1);
    let mut sockets = Sockets::default();
    parse(&datagram, &mut sockets).unwrap();
    assert_eq!((sockets.connections.len(), sockets.is_truncated), (MAX_SOCKETS, true));
    assert_eq!((sockets.connections[0].stream, sockets.connections[0].cgroup), (None, None));
}

#[test]
fn a_connection_of_an_unknown_address_family_is_an_error() {
    let mut socket = vec![0; SOCKET_BYTES];
    (socket[0], socket[1]) = (1, TCP_ESTABLISHED);
    assert_eq!(read(&message(TCPDIAG_GETSOCK, 0, &socket)), Err(DiagError::Malformed));
}

#[test]
fn a_request_asks_for_both_states_and_the_counters() {
    let request = request();
    assert_eq!((u32_at(&request, 0), u16_at(&request, 4)), (Some(76), Some(18)));
    assert_eq!((&request[16..20], u32_at(&request, 68)), (&[0, 0, 0, 2][..], Some(0x402)));
}
