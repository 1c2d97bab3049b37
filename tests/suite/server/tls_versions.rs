//! TLS 1.2 and 1.3 on both listeners, and no older version.

use std::io::{Read, Write};

use kit::{http, tls::ClientOptions};
use rustls::version::{TLS12, TLS13};

use super::Server;

#[test]
fn tls_1_2_and_1_3_work_on_both_listeners() {
    let server = Server::start();
    for address in [server.webhook, server.metrics] {
        for version in [&TLS12, &TLS13] {
            let options = ClientOptions { versions: &[version], ..ClientOptions::default() };
            let mut stream = server.certificate.connect_as(address, options).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
        }
    }
}

#[test]
fn older_versions_are_rejected_with_an_alert() {
    let server = Server::start();
    // TLS 1.0 and 1.1. rustls cannot send them, so these are the bytes of a ClientHello.
    for minor in [1, 2] {
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        // No session; the cipher suites ECDHE-ECDSA-AES128-SHA and RSA-AES128-SHA; no compression.
        hello.extend([0, 0, 4, 0xc0, 0x09, 0x00, 0x2f, 1, 0]);
        // The extensions supported_groups (P-256) and signature_algorithms (ECDSA with SHA-256).
        hello.extend([0, 16, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]);
        let length = u8::try_from(hello.len()).unwrap();
        let record = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], hello.as_slice()].concat();
        for address in [server.webhook, server.metrics] {
            let mut stream = http::connect(address).unwrap();
            stream.write_all(&record).unwrap();
            let mut alert = [0; 7];
            stream.read_exact(&mut alert).unwrap();
            // A fatal alert (2), protocol_version (70).
            assert_eq!((alert[0], &alert[5..]), (21, [2, 70].as_slice()), "TLS 1.{}", minor - 1);
        }
    }
}
