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
        low("a port-forward", sockets(&[8080], inside(8080, client, [DESKTOP, RUNTIME])), &[8080]),
        low(
            "a port-forward beside a viewer",
            sockets(&[8080], inside(8080, client, [DESKTOP, RUNTIME]).into_iter().chain([viewer(8080)])),
            &[8080, 8080],
        ),
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

#[test]
fn a_port_forward_to_a_declared_port_is_certain() {
    let ports = Ports { own: OWN, declared: vec![8080] };
    let forwarded = sockets(&[8080], inside(8080, (LOOPBACK, 40_000), [DESKTOP, RUNTIME]));
    check(&good("a port-forward", forwarded, &[8080]), &ports, &[]);
}

/// On a node that has both versions of control groups, all sockets can have the same one.
#[test]
fn the_control_group_of_the_sidecar_says_nothing() {
    let own = Listener { port: OWN, cgroup: DESKTOP };
    let mut forwarded = sockets(&[8080], inside(8080, (LOOPBACK, 40_000), [DESKTOP, DESKTOP]));
    forwarded.listeners.push(own);
    let ports = Ports { own: OWN, declared: vec![8080] };
    check(&low("a port-forward", forwarded, &[8080]), &ports, &[]);
    let mut proxied = sockets(
        &[3001, 8082],
        inside(8082, (LOOPBACK, 40_000), [DESKTOP, DESKTOP]).into_iter().chain([viewer(3001)]),
    );
    proxied.listeners.push(own);
    check(&low("a proxy of the pod", proxied, &[3001]), &Ports { own: OWN, declared: vec![] }, &[]);
}

/// Both ends of a connection that the proxy of a mesh opens to port 8080, and the connection from the viewer to the proxy.
fn through_proxy(inbound: u16, client: [u8; 4], cgroup: Option<u64>) -> Vec<Connection> {
    let client = (client, 40_000);
    vec![from((POD, 8080), client, DESKTOP), from(client, (POD, 8080), cgroup), viewer(inbound)]
}

fn meshed(ports: &[u16], cgroup: Option<u64>, connections: Vec<Connection>) -> Sockets {
    let mut sockets = sockets(&[8080], connections);
    sockets.listeners.extend(ports.iter().map(|port| Listener { port: *port, cgroup }));
    sockets
}

#[test]
fn the_connection_from_the_proxy_of_a_mesh_counts_and_that_to_the_proxy_does_not() {
    const PROXY: Option<u64> = Some(5);
    const PROMETHEUS: [u8; 4] = [10, 0, 0, 99];
    let (istio, linkerd) = (&[15001, 15006, 15021][..], &[4140, 4143, 4191][..]);
    let monitors = [Address::v4(PROMETHEUS), Address::v4(POD)];
    let cases = [
        good("Istio", meshed(istio, PROXY, through_proxy(15006, [127, 0, 0, 6], PROXY)), &[8080]),
        good("Istio's ztunnel", meshed(istio, PROXY, through_proxy(15008, VIEWER, PROXY)), &[8080]),
        low(
            "a scrape through Istio's ztunnel",
            meshed(istio, PROXY, through_proxy(15008, PROMETHEUS, PROXY)),
            &[],
        ),
        good("Linkerd", meshed(linkerd, PROXY, through_proxy(4143, POD, PROXY)), &[8080]),
        low("Linkerd without control groups", meshed(linkerd, None, through_proxy(4143, POD, None)), &[8080]),
        good(
            "a proxy of the pod beside Linkerd",
            meshed(linkerd, PROXY, through_proxy(4143, POD, DESKTOP)),
            &[],
        ),
        good("a scrape of Linkerd's proxy", meshed(linkerd, PROXY, vec![viewer(4191)]), &[]),
        good("one port of a mesh", sockets(&[15006], [viewer(15006)]), &[15006]),
    ];
    let ports = Ports { own: OWN, declared: vec![] };
    cases.iter().for_each(|case| check(case, &ports, &monitors));
}

/// Prometheus scrapes the sidecar and a metrics port of the desktop from the same address.
#[test]
fn a_peer_that_scrapes_the_sidecar_is_no_viewer() {
    let ports = Ports { own: OWN, declared: vec![] };
    let prometheus = [10, 0, 0, 99];
    let of = |port, address| from((POD, port), (address, 50_000 + port), DESKTOP);
    let scraped = sockets(&[8080, OWN], [of(OWN, prometheus), of(8080, prometheus), of(8080, VIEWER)]);
    let monitors = [Address::v4(prometheus)];
    check(&low("Prometheus and a viewer", scraped, &[8080]), &ports, &monitors);
    let only_own = sockets(&[8080, OWN], [of(OWN, prometheus)]);
    check(&good("Prometheus at the sidecar only", only_own, &[]), &ports, &monitors);
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
