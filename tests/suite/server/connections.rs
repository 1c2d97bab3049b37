//! The limits of the connections: strangers do not keep the API server out.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use kit::{
    http,
    process::eventually,
    tls::{ClientOptions, TlsStream},
};

use super::{Server, review};

const CLOSED: &str = "vdi_metrics_https_connections_closed_total";

impl Server {
    fn closed(&self, reason: &str) -> f64 {
        let labels = [("listener", "webhook"), ("reason", reason)];
        self.exposition().value(CLOSED, &labels).unwrap()
    }

    fn open(&self) -> f64 {
        self.exposition().value("vdi_metrics_https_connections", &[("listener", "webhook")]).unwrap()
    }

    fn connect_from(&self, source: Ipv4Addr) -> TlsStream {
        let options = ClientOptions { source, ..ClientOptions::default() };
        self.certificate.connect_as(self.webhook, options).unwrap()
    }
}

/// Sends a review and keeps the connection.
fn mutate(stream: &mut TlsStream) -> u16 {
    let body = review();
    let length = body.len();
    let head = "POST /mutate?timeout=2s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = [0; 16 << 10];
    let read = stream.read(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer[..read]);
    text.strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or_else(|| panic!("{text}"))
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

fn stranger(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, number)
}

/// Strangers can have the address of the API server, for example behind a tunnel or on its node.
#[test]
fn a_client_with_all_connections_displaces_its_own_idle_ones() {
    let server = Server::start();
    let mut useful = server.connect_from(stranger(1));
    assert_eq!(mutate(&mut useful), 200);
    let mut idle: Vec<_> =
        (0..1100).map(|_| http::connect_from(stranger(1), server.webhook).unwrap()).collect();
    eventually("the oldest are closed", || (server.closed("displaced") == 77.0).then_some(()));
    assert_eq!(server.open(), 1024.0);
    assert!(idle[..77].iter_mut().all(is_closed));
    assert_eq!(mutate(&mut useful), 200, "a connection that was useful stays");
    assert_eq!(mutate(&mut server.connect_from(stranger(1))), 200, "a new one is served");
    assert_eq!(mutate(&mut server.connect_from(stranger(2))), 200, "another client is served");
}

#[test]
fn strangers_with_idle_connections_do_not_displace_the_api_server() {
    let server = Server::start();
    let mut api_server: Vec<_> = (0..40).map(|_| server.connect_from(Ipv4Addr::LOCALHOST)).collect();
    assert!(api_server.iter_mut().all(|stream| mutate(stream) == 200));
    let strangers: Vec<_> = (0..2000)
        .map(|number| http::connect_from(stranger((number % 20) as u8 + 1), server.webhook).unwrap())
        .collect();
    eventually("all connections are in use", || (server.open() >= 1024.0).then_some(()));
    assert!(
        api_server.iter_mut().all(|stream| mutate(stream) == 200),
        "a connection of the API server was closed"
    );
    let began = Instant::now();
    let mut more: Vec<_> = (0..100).map(|_| server.connect_from(Ipv4Addr::LOCALHOST)).collect();
    assert!(
        more.iter_mut().all(|stream| mutate(stream) == 200),
        "a new connection of the API server is refused"
    );
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(server.closed("displaced") >= 1000.0, "{}", server.closed("displaced"));
    assert_eq!(server.open(), 1024.0);
    assert!(server.peak_kibibytes() < 96 << 10, "{} KiB", server.peak_kibibytes());
    drop(strangers);
}

#[test]
fn slow_requests_on_all_connections_do_not_keep_the_api_server_out() {
    let server = Server::start();
    let head = "POST /mutate?timeout=30s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let unfinished: Vec<_> = (0..1100)
        .map(|number| {
            let mut stream = server.connect_from(stranger(number as u8 % 2 + 1));
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    eventually("all connections are used", || (server.open() == 1024.0).then_some(()));
    let mut api_server: Vec<_> = (0..20).map(|_| server.connect_from(Ipv4Addr::LOCALHOST)).collect();
    assert!(api_server.iter_mut().all(|stream| mutate(stream) == 200));
    drop(unfinished);
}

#[test]
fn slow_handshakes_and_headers_end_in_time() {
    let server = Server::start();
    let began = Instant::now();
    let mut before_handshake = http::connect(server.webhook).unwrap();
    let mut before_headers = server.connect_from(stranger(1));
    before_headers.write_all(b"POST /mutate HTTP/1.1\r\nhost:").unwrap();
    assert!(is_closed(&mut before_handshake));
    assert!((5..7).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    eventually("the headers have timed out", || (server.closed("header_timeout") == 1.0).then_some(()));
    assert!((10..12).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(server.closed("handshake_timeout"), 1.0);
}

#[test]
fn garbage_ends_the_connection() {
    let server = Server::start();
    let mut plain = http::connect(server.webhook).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let _ = plain.read_to_end(&mut vec![]);
    eventually("no TLS", || (server.closed("handshake_failed") == 1.0).then_some(()));
    for request in [b"\x00\x01\x02\x03\r\n\r\n".to_vec(), vec![b'x'; 64 << 10]] {
        let before = server.closed("failed");
        let mut stream = server.connect_from(stranger(1));
        // The server may close before it has read everything.
        let _ = stream.write_all(&request);
        let _ = stream.read_to_end(&mut vec![]);
        eventually("the connection has ended", || (server.closed("failed") > before).then_some(()));
    }
    let mut stream = server.connect_from(stranger(1));
    // The client sends everything at once, before the server closes without reading the rest.
    let large =
        format!("GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", "t".repeat(20 << 10));
    stream.write_all(large.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
    assert_eq!(server.mutate(&review()).status, 200);
}

#[test]
fn the_body_has_the_time_of_the_review() {
    let server = Server::start();
    let head = "POST /mutate?timeout=1s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    for (timeout, seconds) in [("1s", 1), ("4s", 4)] {
        let mut stream = server.connect_from(stranger(1));
        stream.write_all(head.replace("1s", timeout).as_bytes()).unwrap();
        let (began, mut answer) = (Instant::now(), [0; 12]);
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
        assert!(
            (seconds..=seconds + 1).contains(&began.elapsed().as_secs()),
            "{timeout}: {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn unfinished_bodies_of_a_stranger_end_for_the_api_server() {
    let server = Server::start();
    let size = 256 << 10;
    let head = format!(
        "POST /mutate?timeout=30s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n{{"
    );
    let unfinished: Vec<_> = (0..60_u8)
        .map(|number| {
            let mut stream = server.connect_from(stranger(number % 4 + 1));
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let busy =
        || server.exposition().value("vdi_metrics_admission_refusals_total", &[("reason", "busy")]).unwrap();
    eventually("the memory for bodies is used up", || (busy() > 0.0).then_some(()));
    let before = busy();
    for _ in 0..20 {
        assert_eq!(server.mutate(&review()).status, 200);
    }
    assert!(busy() > before, "an unfinished body has ended");
    drop(unfinished);
}
