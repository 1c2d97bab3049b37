//! Invalid and malicious input, for the admission code and for the real server over TLS. A request with a readable review is
//! always allowed, any other request gets a proper HTTP error, and memory stays bounded.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use kit::{answer::Answer, http, process::eventually};
use serde_json::{Value, json};
use vdi_metrics::admission::{Injector, Namespaces, Settings};

use crate::server::{Server, review};

/// The decision on the review in `body`, or the error if there is no answer.
fn decide(body: impl AsRef<[u8]>) -> Result<String, String> {
    match Injector::new(Settings::default()).admit(body.as_ref(), &Namespaces::default()) {
        Ok(admission) => {
            let reply: Value = serde_json::from_slice(&admission.reply).unwrap();
            assert_eq!(reply["response"]["allowed"], true);
            Ok(admission.outcome.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A review whose parts are text, so that they can have what a [`Value`] cannot have.
fn envelope(request: &str, object: &str) -> String {
    let kind = r#"{"group": "", "version": "v1", "kind": "Pod"}"#;
    format!(
        r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request":
            {{"uid": "u-1", "operation": "CREATE", "kind": {kind}, "object": {object}{request}}}}}"#
    )
}

/// A review of a pod with an unknown field in its container's claim.
fn pod_with_claim(future: &str) -> String {
    let claims = format!(r#"[{{"name": "gpu", "future": {future}}}]"#);
    let containers = format!(r#"[{{"name": "d", "resources": {{"claims": {claims}}}}}]"#);
    envelope(
        "",
        &format!(r#"{{"spec": {{"resourceClaims": [{{"name": "gpu"}}], "containers": {containers}}}}}"#),
    )
}

fn pod(metadata: &str, spec: &str) -> String {
    envelope(
        "",
        &format!(r#"{{"metadata": {{{metadata}}}, "spec": {{"containers": [{{"name": "d"}}]{spec}}}}}"#),
    )
}

#[test]
fn a_truncated_review_has_no_answer() {
    let complete = review();
    assert_eq!(decide(&complete).unwrap(), "injected");
    for end in 0..complete.len() {
        assert!(decide(&complete[..end]).is_err(), "{}", &complete[..end]);
    }
    assert!(decide(complete.clone() + "{}").is_err(), "two documents");
    assert!(decide(format!("\u{feff}{complete}")).is_err(), "a byte order mark");
}

/// The stack of this test is an eighth of a server thread's.
#[test]
fn deep_nesting_never_overflows_the_stack() {
    let depth = 100_000;
    let bombs = [("[".repeat(depth), "]".repeat(depth)), ("{\"a\":".repeat(depth) + "1", "}".repeat(depth))];
    let bombs = bombs.into_iter().flat_map(|(open, close)| [open.clone() + &close, open]);
    let attack = move || {
        for bomb in bombs {
            let closed = !bomb.ends_with(['[', '1']);
            for (body, expected) in [
                (pod("", &format!(r#", "future": {bomb}"#)), "injected"),
                (pod("", &format!(r#", "resources": {{"limits": {{"x": {bomb}}}}}"#)), "injected"),
                (
                    pod("", &format!(r#", "resources": {{"limits": {{"cpu": {bomb}}}}}"#)),
                    "skipped: undecodable",
                ),
                (pod("", &format!(r#", "volumes": {bomb}"#)), "skipped: undecodable"),
                (pod(&format!(r#""labels": {{"a": {bomb}}}"#), ""), "skipped: undecodable"),
                (pod(&format!(r#""annotations": {{"a": {bomb}}}"#), ""), "skipped: undecodable"),
                (pod_with_claim(&bomb), "injected"),
                (envelope("", &bomb), "skipped: undecodable"),
                (envelope(&format!(r#", "options": {bomb}"#), r#"{"spec": {}}"#), "injected"),
            ] {
                let decision = decide(body);
                assert_eq!(decision.is_ok(), closed, "{decision:?}");
                assert!(
                    decision.is_err() || decision == Ok(expected.to_owned()),
                    "{decision:?}, expected {expected}"
                );
            }
            assert!(decide(&bomb).is_err());
            assert!(decide(envelope(&format!(r#", "uid": {bomb}"#), "{}")).is_err());
        }
    };
    thread::Builder::new().stack_size(256 << 10).spawn(attack).unwrap().join().unwrap();
}

/// The API server uses the last of two equal keys. Where the webhook reads a pod differently, it must not patch the pod.
#[test]
fn duplicate_keys_are_read_as_by_the_api_server_or_the_pod_is_skipped() {
    for (body, expected) in [
        (
            pod(r#""labels": {"vdi-metrics.io/inject": "disabled", "vdi-metrics.io/inject": "x"}"#, ""),
            "injected",
        ),
        (
            pod(r#""labels": {"vdi-metrics.io/inject": "x", "vdi-metrics.io/inject": "disabled"}"#, ""),
            "skipped: opted_out",
        ),
        (pod(r#""labels": {"a": "b"}, "labels": null"#, ""), "skipped: undecodable"),
        (pod("", r#", "containers": []"#), "skipped: undecodable"),
        (pod("", r#", "volumes": [], "volumes": null"#), "skipped: undecodable"),
        (pod("", r#", "future": 1, "future": 2"#), "injected"),
        (pod("", r#", "Volumes": [], "volumes": []"#), "injected"),
        (envelope("", r#"{"spec": {}, "spec": {"hostNetwork": true}}"#), "skipped: undecodable"),
        (envelope("", r#"{"metadata": {}, "metadata": null, "spec": {}}"#), "skipped: undecodable"),
    ] {
        assert_eq!(decide(&body).as_deref(), Ok(expected), "{body}");
    }
    for request in [r#", "uid": "u-2""#, r#", "object": {"spec": {}}"#, r#", "operation": "CREATE""#] {
        assert!(decide(envelope(request, "{}")).unwrap_err().contains("duplicate field"), "{request}");
    }
}

/// JSON Patch cannot address an item of a list by name.
#[test]
fn a_pod_with_a_list_instead_of_an_object_is_skipped() {
    for object in [
        "[{}, {}]",
        r#"[null, {"containers": []}]"#,
        r#"{"spec": []}"#,
        r#"{"spec": [null, null, [{"name": "vdi-metrics"}]]}"#,
        r#"{"metadata": [], "spec": {}}"#,
        r#"{"metadata": [null, {"a": "b"}], "spec": {}}"#,
        r#"{"metadata": {"labels": []}, "spec": {}}"#,
    ] {
        assert_eq!(decide(envelope("", object)).as_deref(), Ok("skipped: undecodable"), "{object}");
    }
}

/// Every reader of the patch must be able to read what the webhook copies into it.
#[test]
fn unknown_fields_of_a_claim_are_not_copied() {
    for future in [r#"{"a": ["\u00e4", 1.5, null]}"#, r#"[["\ud800"]]"#, "1e400"] {
        let body = pod_with_claim(future);
        let admission = Injector::new(Settings::default()).admit(body.as_bytes(), &Namespaces::default());
        let answer = Answer::read(&admission.unwrap().reply, "u-1");
        let patch = answer.patch.expect("the pod is injected");
        let container =
            patch.iter().find(|operation| operation.path().as_str() == "/spec/initContainers").unwrap();
        let container = serde_json::to_value(container).unwrap()["value"][0].take();
        assert_eq!(container["resources"]["claims"], json!([{"name": "gpu"}]), "{future}");
    }
}

#[test]
fn pods_with_unrepresentable_text_and_numbers_are_allowed() {
    for (metadata, spec, expected) in [
        (r#""labels": {"a": "\ud800"}"#, "", "injected"),
        (r#""labels": {"vdi-metrics.io/inject": "\ud800"}"#, "", "injected"),
        (r#""labels": {"\udc00\ud800": "a"}"#, "", "skipped: undecodable"),
        (r#""name": "\ud800""#, r#", "nodeName": "\ud800""#, "injected"),
        (r#""labels": {"a": "\u0000"}"#, "", "injected"),
        ("", r#", "future": [1e400, -1e-400, 123456789012345678901234567890, 0.1e+0001]"#, "injected"),
        ("", r#", "future": 01"#, "malformed"),
        ("", r#", "future": NaN"#, "malformed"),
        (
            "",
            r#", "initContainers": [{"name": "i", "ports": [{"containerPort": 1e400}]}]"#,
            "skipped: undecodable",
        ),
        (
            "",
            r#", "initContainers": [{"name": "i", "ports": [{"containerPort": -1}]}]"#,
            "skipped: undecodable",
        ),
        (
            "",
            r#", "initContainers": [{"name": "i", "ports": [{"containerPort": 65536}]}]"#,
            "skipped: undecodable",
        ),
        (
            "",
            r#", "initContainers": [{"name": "i", "ports": [{"containerPort": 9478.5}]}]"#,
            "skipped: undecodable",
        ),
    ] {
        let decision = decide(pod(metadata, spec)).unwrap_or_else(|_| "malformed".to_owned());
        assert_eq!(decision, expected, "{metadata} {spec}");
    }
    for metadata in [r#""labels": {"a": "@"}"#, r#""name": "@""#] {
        let body = pod(metadata, "").into_bytes();
        let latin1: Vec<u8> = body.into_iter().map(|byte| if byte == b'@' { 0xe9 } else { byte }).collect();
        assert_eq!(decide(latin1).as_deref(), Ok("skipped: undecodable"), "{metadata}");
    }
    assert!(decide(envelope(r#", "name": "\ud800""#, "{}")).is_err());
}

#[test]
fn the_log_names_a_field_that_cannot_be_read() {
    let server = Server::start();
    let body = pod(r#""annotations": {"prometheus.io/port": 8080}"#, "");
    assert_eq!(server.mutate(&body).status, 200);
    let line = server.process.logged("Cannot read the pod");
    assert!(
        line.contains("metadata.annotations[prometheus.io/port] is 8080: write a string in quotes"),
        "{line}"
    );
}

const HEAD: &str = "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";

impl Server {
    /// Sends the bytes over a new connection and reads until the server closes it.
    fn exchange(&self, request: &str) -> String {
        let mut stream = self.certificate.connect(self.webhook).unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn check_still_works(&self) {
        let began = Instant::now();
        assert_eq!(self.mutate(&review()).status, 200);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        // The Deployment's limit is 64 MiB.
        assert!(self.peak_kibibytes() < 64 << 10, "{} KiB", self.peak_kibibytes());
    }
}

fn chunked(body: &str, size: usize) -> String {
    let chunks = body
        .as_bytes()
        .chunks(size)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()));
    chunks.chain(["0\r\n\r\n".to_owned()]).collect()
}

#[test]
fn large_requests_are_rejected_however_they_are_sent() {
    let server = Server::start();
    let large = pod(&format!(r#""annotations": {{"pad": "{}"}}"#, "x".repeat(3 << 20)), "");
    let response = server.mutate(&large);
    assert!(response.status == 200 && response.body.contains("skipped: too_large"), "{}", response.status);
    let bomb = pod("", &format!(r#", "future": {}{}"#, "[".repeat(1 << 20), "]".repeat(1 << 20)));
    assert_eq!(server.mutate(&bomb).status, 200);
    // The client reads the response only after it has sent everything. It must get the response and not a connection reset.
    let body = " ".repeat(10_000_000);
    let close = "connection: close\r\n";
    let with_length = format!("{HEAD}{close}content-length: {}\r\n\r\n{body}", body.len());
    assert!(server.exchange(&with_length).starts_with("HTTP/1.1 413"));
    let in_chunks = format!("{HEAD}{close}transfer-encoding: chunked\r\n\r\n{}", chunked(&body, 1 << 16));
    assert!(server.exchange(&in_chunks).starts_with("HTTP/1.1 413"));
    // The server closes without reading the rest, so the client must be able to send everything at once.
    let headers = format!("{HEAD}pad: {}\r\n\r\n", "x".repeat(20 << 10));
    assert!(server.exchange(&headers).starts_with("HTTP/1.1 431"));
    server.check_still_works();
}

#[test]
fn every_kind_of_request_framing_is_read_or_rejected() {
    let server = Server::start();
    let body = review();
    let length = format!("content-length: {}\r\n", body.len());
    let close = "connection: close\r\n";
    for (head, body, status) in [
        (format!("{HEAD}{close}transfer-encoding: chunked\r\n\r\n"), chunked(&body, 7), 200),
        (format!("{HEAD}{close}expect: 100-continue\r\n{length}\r\n"), body.clone(), 100),
        (format!("{HEAD}{close}\r\n"), body.clone(), 400),
        (format!("{HEAD}{close}content-length: 5\r\n\r\n"), body.clone(), 400),
        (format!("{HEAD}{length}content-length: 1\r\n\r\n"), body.clone(), 400),
        (format!("{HEAD}content-length: -1\r\n\r\n"), body.clone(), 400),
        (format!("{HEAD}{close}transfer-encoding: chunked\r\n\r\n"), "zz\r\n".into(), 400),
        (format!("{HEAD}{close}transfer-encoding: gzip\r\n\r\n"), body.clone(), 400),
        ("POST /mutate HTTP/1.1\r\n\r\n".to_owned(), String::new(), 415),
        ("\0\r\n\r\n".to_owned(), String::new(), 400),
    ] {
        let answer = server.exchange(&(head.clone() + &body));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
        assert!(status != 100 || answer.contains("\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
    }
    let one = format!("{HEAD}{length}\r\n{body}");
    let last = format!("{HEAD}{close}{length}\r\n{body}");
    let answers = server.exchange(&(one.repeat(9) + &last));
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 10, "pipelined");
    server.check_still_works();
}

#[test]
fn a_client_that_sends_single_bytes_gets_a_timeout() {
    let server = Server::start();
    let mut stream = server.certificate.connect(server.webhook).unwrap();
    stream.sock.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    write!(stream, "{HEAD}content-length: 100000\r\n\r\n").unwrap();
    let began = Instant::now();
    let mut answer = [0; 12];
    while let Err(error) = stream.read_exact(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(began.elapsed() < Duration::from_secs(8), "no timeout");
        stream.write_all(b" ").unwrap();
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
    server.check_still_works();
}

#[test]
fn many_connections_cost_little_memory_and_do_not_block_others() {
    let server = Server::start();
    let before = server.peak_kibibytes();
    // The clients send only the first record of a handshake, or something other than TLS, or nothing.
    let half_open: Vec<TcpStream> = (0..100)
        .map(|index| {
            let mut stream = http::connect(server.webhook).unwrap();
            let start: &[u8] = match index % 3 {
                0 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                1 => b"POST /mutate HTTP/1.1\r\n\r\n",
                _ => b"",
            };
            stream.write_all(start).unwrap();
            stream
        })
        .collect();
    // Idle connections like the API server's, but more of them. Each has had one response.
    let request = format!("{HEAD}content-length: {}\r\n\r\n{}", review().len(), review());
    let idle: Vec<_> = (0..500)
        .map(|_| {
            let mut stream = server.certificate.connect(server.webhook).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            stream
        })
        .collect();
    server.check_still_works();
    let each = (server.peak_kibibytes() - before) / 600;

    assert!(each < 50, "{each} KiB per connection");
    drop((half_open, idle));
    server.check_still_works();
}

#[test]
fn memory_of_disconnected_clients_is_released() {
    let server = Server::start();
    for _ in 0..50 {
        let mut stream = server.certificate.connect(server.webhook).unwrap();
        write!(stream, "{HEAD}content-length: 4000000\r\n\r\n{{").unwrap();
        stream.flush().unwrap();
    }
    // The server accepts two bodies of this length at the same time.
    eventually("the server accepts two large bodies", || {
        let accepted: Vec<_> = (0..2).map(|_| server.announce_body(4_000_000)).collect();
        accepted.iter().all(|(answer, _)| answer == b"HTTP/1.1 100").then_some(())
    });
    server.check_still_works();
}
