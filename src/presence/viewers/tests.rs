use super::*;
use crate::presence::sockets::Listener;

const OWN: u16 = 9478;
const DESKTOP: Option<u64> = Some(7);
const RUNTIME: Option<u64> = Some(3);
const POD: [u8; 4] = [10, 0, 0, 5];
const VIEWER: [u8; 4] = [203, 0, 113, 9];
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// A case: its name, the sockets, and the local ports of the viewers.
struct Case {
    name: &'static str,
    sockets: Sockets,
    viewers: Vec<u16>,
    confidence: PresenceConfidence,
}

fn end(address: [u8; 4], port: u16) -> Endpoint {
    Endpoint { address: Address::v4(address), port }
}

/// An established connection from its local end.
fn from(local: ([u8; 4], u16), remote: ([u8; 4], u16), cgroup: Option<u64>) -> Connection {
    let (local, remote) = (end(local.0, local.1), end(remote.0, remote.1));
    let identity = u64::from(local.port) << 16 | u64::from(remote.port);
    Connection { identity, local, remote, cgroup, answers: Answers::InTime, stream: None }
}

/// Both ends of a connection inside the pod: the server's end belongs to the desktop.
fn inside(port: u16, client: ([u8; 4], u16), cgroup: [Option<u64>; 2]) -> [Connection; 2] {
    [from((LOOPBACK, port), client, cgroup[0]), from(client, (LOOPBACK, port), cgroup[1])]
}

fn sockets(ports: &[u16], connections: impl IntoIterator<Item = Connection>) -> Sockets {
    let listeners = ports.iter().map(|port| Listener { port: *port, cgroup: DESKTOP }).collect();
    Sockets { listeners, connections: connections.into_iter().collect(), is_truncated: false }
}

fn good(name: &'static str, sockets: Sockets, viewers: &[u16]) -> Case {
    Case { name, sockets, viewers: viewers.to_vec(), confidence: PresenceConfidence::Good }
}

fn low(name: &'static str, sockets: Sockets, viewers: &[u16]) -> Case {
    Case { confidence: PresenceConfidence::Low, ..good(name, sockets, viewers) }
}

fn viewer(port: u16) -> Connection {
    from((POD, port), (VIEWER, 50_000), DESKTOP)
}

fn with(answers: Answers) -> Connection {
    Connection { answers, ..viewer(8080) }
}

fn outstanding(seconds: u64) -> Connection {
    with(Answers::Outstanding(Duration::from_secs(seconds)))
}

fn check(case: &Case, ports: &Ports, monitors: &[Address]) {
    let decided = find(&case.sockets, ports, monitors);
    let ends = case.sockets.connections.iter().zip(&decided.is_viewer);
    let viewers: Vec<u16> = ends.filter(|(_, is_viewer)| **is_viewer).map(|(it, _)| it.local.port).collect();
    assert_eq!((viewers, decided.confidence), (case.viewers.clone(), case.confidence), "{}", case.name);
}

#[test]
fn every_case_has_its_viewers() {
    let nginx = viewer(3001);
    let client = (LOOPBACK, 40_000);
    let cases = [
        good("nothing", Sockets::default(), &[]),
        good("a viewer", sockets(&[8080], [viewer(8080)]), &[8080]),
        good("two viewers", sockets(&[8080, 5900], [viewer(8080), viewer(5900)]), &[8080, 5900]),
        good("an outbound connection", sockets(&[8080], [from((POD, 41_000), (VIEWER, 443), DESKTOP)]), &[]),
        good("a scrape of the sidecar", sockets(&[8080, OWN], [viewer(OWN)]), &[]),
        good("a still screen", sockets(&[8080], [with(Answers::InTime)]), &[8080]),
        good("a moving screen", sockets(&[8080], [outstanding(59)]), &[8080]),
        good("an unplugged viewer", sockets(&[8080], [outstanding(60)]), &[]),
        good("few retransmissions", sockets(&[8080], [with(Answers::Unanswered(7))]), &[8080]),
        good("many retransmissions", sockets(&[8080], [with(Answers::Unanswered(8))]), &[]),
        good(
            "a proxy of the pod",
            sockets(&[3001, 8082], inside(8082, client, [DESKTOP, DESKTOP]).into_iter().chain([nginx])),
            &[3001],
        ),
        good(
            "a proxy that uses the address of the pod",
            sockets(
                &[3001, 8082],
                [from((POD, 8082), (POD, 40_000), None), from((POD, 40_000), (POD, 8082), None), nginx],
            ),
            &[3001],
        ),
        good("a port-forward", sockets(&[8080], inside(8080, client, [DESKTOP, RUNTIME])), &[8080]),
        good(
            "a port-forward beside a viewer",
            sockets(&[8080], inside(8080, client, [DESKTOP, RUNTIME]).into_iter().chain([viewer(8080)])),
            &[8080, 8080],
        ),
        good(
            "Istio",
            sockets(&[8080, 15006], inside(8080, ([127, 0, 0, 6], 40_000), [DESKTOP, DESKTOP])),
            &[8080],
        ),
        good(
            "Istio, with the connection to its proxy",
            sockets(
                &[8080, 15006],
                inside(8080, ([127, 0, 0, 6], 40_000), [DESKTOP, DESKTOP]).into_iter().chain([viewer(15006)]),
            ),
            &[8080],
        ),
        good("port 15006 without Istio", sockets(&[15001], [viewer(15001)]), &[15001]),
        low(
            "a loopback client without control groups",
            sockets(&[8080], inside(8080, client, [None, None])),
            &[8080],
        ),
        low(
            "a proxy without control groups",
            sockets(&[3001, 8082], inside(8082, client, [None, None]).into_iter().chain([nginx])),
            &[3001],
        ),
    ];
    let ports = Ports { own: OWN, declared: vec![] };
    cases.iter().for_each(|case| check(case, &ports, &[]));
}

#[test]
fn only_declared_ports_count_if_there_are_any() {
    let ports = Ports { own: OWN, declared: vec![3001] };
    let both = sockets(&[3001, 8082], [viewer(3001), viewer(8082)]);
    check(&good("one port is declared", both, &[3001]), &ports, &[]);
    let silent = sockets(&[8082], [viewer(3001)]);
    check(&good("the declared port does not listen", silent, &[]), &ports, &[]);
}

/// Prometheus scrapes the sidecar and a metrics port of the desktop from the same address.
#[test]
fn a_peer_that_scrapes_the_sidecar_is_no_viewer() {
    let ports = Ports { own: OWN, declared: vec![] };
    let prometheus = [10, 0, 0, 99];
    let of = |port, address| from((POD, port), (address, 50_000 + port), DESKTOP);
    let scraped = sockets(&[8080, OWN], [of(OWN, prometheus), of(8080, prometheus), of(8080, VIEWER)]);
    let monitors: Vec<_> = scrapers(&scraped, &ports).collect();
    assert_eq!(monitors, [Address::v4(prometheus)]);
    check(&good("Prometheus and a viewer", scraped, &[8080]), &ports, &monitors);
    let local = sockets(&[8080, OWN], inside(OWN, (LOOPBACK, 40_000), [DESKTOP, DESKTOP]));
    assert_eq!(scrapers(&local, &ports).count(), 0);
}

/// The time is bounded although a desktop can open as many connections as it likes.
#[test]
fn thousands_of_loopback_connections_are_decided_quickly() {
    let connections =
        (0..4000_u16).flat_map(|number| inside(8080, (LOOPBACK, 20_000 + number), [DESKTOP, DESKTOP]));
    let many = sockets(&[8080], connections);
    let decided = find(&many, &Ports { own: OWN, declared: vec![] }, &[]);
    assert!(decided.is_viewer.iter().all(|it| !it));
}
