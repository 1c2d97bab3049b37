//! The end of the server: it answers open requests, and a second signal ends it at once.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use kit::{
    http,
    process::{Signal, eventually},
};

use super::{Server, review};

#[test]
fn a_server_that_shuts_down_is_unready_and_closes_connections_first() {
    let server = Server::start_with(&["--lame-duck", "2"], "/nonexistent");
    let ready = || (http::get(server.health, "/readyz").unwrap().status == 200).then_some(());
    eventually("the server to be ready", ready);
    let Server { process, certificate, webhook, health, .. } = server;
    let id = process.id();
    let ended = std::thread::spawn(move || process.terminate());
    let unready = eventually("the server to be unready", || {
        Some(http::get(health, "/readyz").unwrap()).filter(|response| response.status == 503)
    });
    assert_eq!(unready.body, "shutting down\n");
    let response = certificate.post(webhook, "/mutate", "application/json", &review()).unwrap();
    assert_eq!((response.status, response.header("connection")), (200, Some("close")), "process {id}");
    let (status, took) = ended.join().unwrap();
    assert!(status.success(), "{status}");
    assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&took), "{took:?}");
}

#[test]
fn open_requests_are_answered_and_idle_connections_are_closed() {
    let server = Server::start_with(&["--lame-duck", "1"], "/nonexistent");
    let body = review();
    let (first, rest) = body.split_at(20);
    let mut open = server.certificate.connect(server.webhook).unwrap();
    let length = body.len();
    let head = "POST /mutate?timeout=30s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    open.write_all(format!("{head}content-length: {length}\r\n\r\n{first}").as_bytes()).unwrap();
    let mut idle = server.certificate.connect(server.webhook).unwrap();
    idle.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(idle.read(&mut [0; 1024]).unwrap() > 0);
    let Server { process, health, webhook, .. } = server;
    let began = Instant::now();
    let ended = thread::spawn(move || process.terminate());
    eventually("the server stops to listen", || http::connect(webhook).is_err().then_some(()));
    assert!(began.elapsed() >= Duration::from_secs(1), "it listens during the lame duck");
    assert_eq!(idle.read(&mut [0; 1024]).unwrap_or(0), 0, "the idle connection is closed");
    assert!(is_alive(health), "the process waits for the open request");
    open.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    let (status, took) = ended.join().unwrap();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
}

#[test]
fn a_request_that_does_not_end_delays_the_end_by_the_drain_time() {
    let server = Server::start_with(&["--lame-duck", "0"], "/nonexistent");
    let mut open = server.certificate.connect(server.webhook).unwrap();
    let head = "POST /mutate?timeout=30s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    open.write_all(format!("{head}content-length: 9\r\n\r\n{{").as_bytes()).unwrap();
    let in_flight = || server.exposition().value("vdi_metrics_admission_requests_in_flight", &[]);
    eventually("the request is in flight", || (in_flight() == Some(1.0)).then_some(()));
    let (status, took) = server.process.terminate();
    assert!(status.success(), "{status}");
    assert!((Duration::from_secs(5)..Duration::from_secs(9)).contains(&took), "{took:?}");
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let server = Server::start_with(&["--lame-duck", "60"], "/nonexistent");
    server.process.signal(Signal::TERM);
    server.process.logged("Shutting down");
    let (status, took) = server.process.terminate();
    assert_eq!(status.code(), Some(130));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

fn is_alive(health: SocketAddr) -> bool {
    http::get(health, "/healthz").is_ok_and(|response| response.status == 200)
}
