use super::*;

/// Recorded with sockets as in the dump of `diag_message/tests.rs`.
const TCP: &str = include_str!("../../../tests/sockets/tcp");
const TCP6: &str = include_str!("../../../tests/sockets/tcp6");
const SNMP: &str = include_str!("../../../tests/sockets/snmp");
const SNMP6: &str = include_str!("../../../tests/sockets/snmp6");

fn tcp(text: &str) -> Sockets {
    let mut sockets = Sockets::default();
    add_tcp(text, &mut sockets).unwrap();
    sockets
}

#[test]
fn recorded_files_have_the_sockets_of_the_dumps() {
    let (v4, v6) = (tcp(TCP), tcp(TCP6));
    assert_eq!(v4.listeners, [Listener { port: 5900, cgroup: None }]);
    assert_eq!(v6.listeners, [Listener { port: 8080, cgroup: None }]);
    assert_eq!((v4.connections.len(), v6.connections.len()), (3, 3));
    let mapped = v6.connections.iter().find(|it| it.remote.address == Address::v4([127, 0, 0, 1])).unwrap();
    assert_eq!((mapped.local.port, mapped.answers, mapped.identity), (8080, Answers::Unanswered(0), 25378));
    let loopback = Address::v6(1_u128.to_be_bytes());
    let waiting = v6.connections.iter().find(|it| it.remote.address == loopback && it.local.port == 8080);
    assert_eq!(waiting.unwrap().answers, Answers::Unanswered(0));
}

/// A peer that is unplugged: eight retransmissions without an answer.
#[test]
fn unanswered_retransmissions_and_probes_are_read() {
    let line = TCP.lines().nth(2).unwrap();
    let unplugged = line.replace(
        "00000000:00000000 00:00000000 00000000     0        0",
        "00000400:00000000 01:00000019 00000008     0        3",
    );
    assert_ne!(line, unplugged);
    let sockets = tcp(&format!("header\n{unplugged}\n"));
    assert_eq!(sockets.connections[0].answers, Answers::Unanswered(8));
    let probed = line.replace("00:00000000 00000000     0        0", "02:00000019 00000000     0        3");
    assert_eq!(tcp(&format!("header\n{probed}\n")).connections[0].answers, Answers::Unanswered(3));
}

#[test]
fn a_line_in_another_format_is_an_error() {
    let bad =
        ["   0: 0100007F:170C 00000000:0000 0A", "   0: 0100007:170C 00000000:0000 0A 0:0 00:0 0 0 0 1", "x"];
    for line in bad {
        assert_eq!(
            add_tcp(&format!("header\n{line}\n"), &mut Sockets::default()),
            Err(MalformedLine),
            "{line}"
        );
        assert_eq!(has_udp_server(&format!("header\n{line}\n")), Err(MalformedLine), "{line}");
    }
    assert_eq!(tcp(""), Sockets::default());
}

#[test]
fn recorded_counters_are_found_by_name() {
    assert_eq!(snmp_value(SNMP, "Tcp", "CurrEstab"), Some(6));
    assert_eq!(snmp_value(SNMP, "Udp", "OutDatagrams"), Some(0));
    assert_eq!(snmp6_value(SNMP6, "Udp6OutDatagrams"), Some(0));
    for (text, protocol, name) in
        [(SNMP, "Tcp", "Missing"), (SNMP, "Sctp", "CurrEstab"), ("Tcp: CurrEstab\n", "Tcp", "CurrEstab")]
    {
        assert_eq!(snmp_value(text, protocol, name), None, "{protocol} {name}");
    }
    assert_eq!(snmp6_value(SNMP6, "Udp6Missing"), None);
}

#[test]
fn only_an_unconnected_socket_that_others_reach_can_serve_viewers() {
    let has = |local: &str, remote: &str| {
        let line =
            format!("  7: {local} {remote} 07 00000000:00000000 00:00000000 00000000     0        0 9 2 0 0");
        has_udp_server(&format!("header\n{line}\n")).unwrap()
    };
    let any = "00000000:0000";
    assert!(has("00000000:BB80", any));
    assert!(has("0500000A:BB80", any));
    assert!(!has("0100007F:BB80", any), "loopback");
    assert!(!has("00000000:BB80", "0500000A:0035"), "connected");
    assert!(!has("00000000:0044", any), "DHCP");
    assert!(!has("00000000:14E9", any), "mDNS");
}
