use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
};

use super::*;
use crate::presence::sockets::Connection;

/// A folder with recorded files of `/proc/net`.
fn folder(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sockets");
    for name in names {
        fs::copy(recorded.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn forbidden(folder: &Path, at: Instant) -> SocketReader {
    SocketReader {
        sock_diag_failure: Some((PassedReason::NotPermitted, at)),
        ..SocketReader::new(folder.to_owned())
    }
}

/// Both sources see a connection of this process, in the real network namespace.
#[test]
fn each_source_has_the_sockets_of_this_process() {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let local = client.local_addr().unwrap().port();
    let (_server, _) = listener.accept().unwrap();
    let at = Instant::now();
    let readers = [SocketReader::new("/proc/net".into()), forbidden("/proc/net".as_ref(), at)];
    let ends = readers.map(|mut reader| {
        let read = reader.read(at).unwrap();
        let sockets = read.sockets.unwrap();
        assert!(sockets.is_listening(port));
        let of_client = |it: &&Connection| it.local.port == port && it.remote.port == local;
        let server = *sockets.connections.iter().find(of_client).unwrap();
        assert_eq!(server.stream.is_some(), read.source == PresenceSource::SockDiag);
        (read.source, server.local, server.remote)
    });
    assert_eq!([ends[0].0, ends[1].0], [PresenceSource::SockDiag, PresenceSource::Proc]);
    assert_eq!((ends[0].1, ends[0].2), (ends[1].1, ends[1].2));
}

#[test]
fn files_are_read_while_the_dump_is_forbidden() {
    let (folder, at) = (folder(&["tcp", "tcp6", "snmp", "snmp6"]), Instant::now());
    let mut reader = forbidden(folder.path(), at);
    let read = reader.read(at + Duration::from_secs(1)).unwrap();
    assert_eq!(read.source, PresenceSource::Proc);
    assert_eq!(read.passed, [(PresenceSource::SockDiag, PassedReason::NotPermitted)]);
    assert_eq!(read.sockets.unwrap().connections.len(), 6);
    let retried = reader.read(at + RETRY).unwrap();
    assert_eq!((retried.source, retried.passed), (PresenceSource::SockDiag, vec![]));
}

#[test]
fn no_source_is_left_if_a_file_is_missing_or_damaged() {
    let at = Instant::now();
    let reasons = |folder: &Path| {
        let read = forbidden(folder, at).read(at).unwrap();
        assert_eq!((read.source, read.sockets), (PresenceSource::None, None));
        read.passed.into_iter().map(|(source, reason)| (source.as_str(), reason.as_str())).collect::<Vec<_>>()
    };
    let missing = folder(&["tcp6", "snmp"]);
    assert_eq!(reasons(missing.path()), [("sock_diag", "not_permitted"), ("proc", "unreadable")]);
    let damaged = folder(&["tcp"]);
    fs::write(damaged.path().join("tcp6"), "header\n 0: damaged\n").unwrap();
    assert_eq!(reasons(damaged.path()), [("sock_diag", "not_permitted"), ("proc", "malformed")]);
}

#[test]
fn a_node_without_ipv6_has_no_file_for_it() {
    let at = Instant::now();
    let read = forbidden(folder(&["tcp"]).path(), at).read(at).unwrap();
    assert_eq!((read.source, read.sockets.unwrap().connections.len()), (PresenceSource::Proc, 3));
}

/// The files of the folder have no connection, and the dump would have those of this process.
#[test]
fn the_dump_is_skipped_without_an_established_connection() {
    let folder = folder(&["snmp"]);
    let snmp = fs::read_to_string(folder.path().join("snmp")).unwrap();
    let mut reader = SocketReader::new(folder.path().to_owned());
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = reader.read(Instant::now()).unwrap();
    assert!(!first.sockets.unwrap().listeners.is_empty());
    let values = snmp.lines().filter(|line| line.starts_with("Tcp: ")).nth(1).unwrap();
    let idle = values.replacen(" 6 ", " 0 ", 1);
    fs::write(folder.path().join("snmp"), snmp.replace(values, &idle)).unwrap();
    assert_eq!(proc_net::snmp_value(&snmp.replace(values, &idle), "Tcp", "CurrEstab"), Some(0));
    let second = reader.read(Instant::now()).unwrap();
    assert_eq!((second.source, second.sockets), (PresenceSource::SockDiag, Some(Sockets::default())));
}

#[test]
fn a_file_is_cut_at_the_end_of_a_line() {
    let folder = folder(&["tcp6"]);
    let recorded = fs::read_to_string(folder.path().join("tcp6")).unwrap();
    let line = recorded.lines().nth(3).unwrap();
    let many = format!("header\n{}", format!("{line}\n").repeat(MAX_BYTES as usize / line.len() + 9));
    fs::write(folder.path().join("tcp"), many).unwrap();
    let at = Instant::now();
    let sockets = forbidden(folder.path(), at).read(at).unwrap().sockets.unwrap();
    assert!(sockets.is_truncated && sockets.connections.len() > 5000);
}

#[test]
fn only_failures_that_last_have_a_reason() {
    let cases = [
        (DiagError::Interrupted, None),
        (DiagError::Errno(4), None),
        (DiagError::Errno(24), None),
        (DiagError::Errno(105), None),
        (DiagError::Errno(13), Some(PassedReason::NotPermitted)),
        (DiagError::Errno(93), Some(PassedReason::NotSupported)),
        (DiagError::Errno(2), Some(PassedReason::NotSupported)),
        (DiagError::Errno(5), Some(PassedReason::Unreadable)),
        (DiagError::Malformed, Some(PassedReason::Malformed)),
    ];
    for (error, reason) in cases {
        assert_eq!(passed_reason(error), reason, "{error:?}");
    }
}

/// The recorded numbers of datagrams grow by 300 in 10 s.
#[test]
fn a_stream_over_udp_needs_a_server_and_a_rate() {
    let (folder, at) = (folder(&["snmp", "snmp6"]), Instant::now());
    let mut reader = SocketReader::new(folder.path().to_owned());
    let server = |port: &str| {
        format!("header\n  7: 00000000:{port} 00000000:0000 07 0:0 00:0 0     0        0 9 2 0 0\n")
    };
    let mut after = |datagrams: u64, seconds, port: &str| {
        fs::write(folder.path().join("udp"), server(port)).unwrap();
        fs::write(folder.path().join("snmp6"), format!("Udp6OutDatagrams \t{datagrams}\n")).unwrap();
        reader.read(at + Duration::from_secs(seconds)).unwrap().streams_udp
    };
    assert!(!after(0, 0, "BB80"));
    assert!(after(300, 10, "BB80"));
    assert!(!after(301, 20, "BB80"), "no rate");
    assert!(!after(601, 30, "0044"), "no server: DHCP");
}
