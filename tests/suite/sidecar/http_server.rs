//! The sidecar's HTTP server.

use std::{
    io::{Read, Write},
    process::Command,
    time::{Duration, Instant},
};

use kit::{http, process::Process};
use vdi_metrics::contract::{METRICS_PATH, env};

use super::{driver_scenarios::*, running_sidecar::*};

#[test]
fn a_port_in_use_is_retried_until_it_is_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vdi-metrics-sidecar"));
    let second = Process::spawn(command.env_clear().env(env::LISTEN, address.to_string()));
    second.logged(&format!("cannot listen on {address}"));
    drop(taken);
    assert_eq!(second.address(), address);
    assert_eq!(http::get(address, METRICS_PATH).unwrap().status, 200);
}

#[test]
fn paths_and_methods_have_their_status_and_headers() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[]);
    let metrics = http::get(sidecar.address, METRICS_PATH).unwrap();
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4"));
    assert_eq!(http::get(sidecar.address, "/healthz").unwrap().status, 200);
    assert_eq!(http::get(sidecar.address, "/").unwrap().status, 200);
    assert_eq!(http::get(sidecar.address, "/page").unwrap().status, 404);
    let head = http::request(sidecar.address, "HEAD", METRICS_PATH).unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let gone = http::request(sidecar.address, "HEAD", "/metrics/x").unwrap();
    assert_eq!(gone.status, 404);
    let post = http::request(sidecar.address, "POST", METRICS_PATH).unwrap();
    assert_eq!((post.status, post.header("allow")), (405, Some("GET,HEAD")));
}

#[test]
fn a_gzip_response_has_the_same_content_in_fewer_bytes() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[]);
    sidecar.first_poll();
    let plain = http::get(sidecar.address, METRICS_PATH).unwrap().body;
    let mut stream = http::connect(sidecar.address).unwrap();
    write!(
        stream,
        "GET {METRICS_PATH} HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4\r\n"), "{head}");
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&answer[end..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    assert!((answer.len() - end) * 3 < plain.len(), "{} of {}", answer.len() - end, plain.len());
}

/// Idle connections time out: 32 at a time, after 7 s each.
#[test]
fn a_scrape_is_answered_after_idle_clients_time_out() {
    let sidecar = RunningSidecar::start(&busy_gpu(), &[]);
    let idle: Vec<_> = (0..40).map(|_| http::connect(sidecar.address).unwrap()).collect();
    let mut slow = http::connect(sidecar.address).unwrap();
    slow.write_all(b"GET /metrics HTT").unwrap();
    let start = Instant::now();
    let stream = http::connect(sidecar.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!("GET {METRICS_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_eq!(http::exchange(stream, &request).unwrap().status, 200);
    assert!(start.elapsed() < Duration::from_secs(16), "{:?}", start.elapsed());
    drop(idle);
}
