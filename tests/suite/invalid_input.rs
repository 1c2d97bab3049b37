//! What nobody sends by accident: to admission itself, and to the real server over TLS. Whatever comes, a request that can
//! be answered is allowed, one that cannot gets a clean refusal, and memory stays bounded.

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

/// The decision on the review in `body`, or why it has no answer.
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

/// A review with its parts as text, so that they can be what no [`Value`] is.
fn envelope(request: &str, object: &str) -> String {
    let kind = r#"{"group": "", "version": "v1", "kind": "Pod"}"#;
    format!(
        r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request":
            {{"uid": "u-1", "operation": "CREATE", "kind": {kind}, "object": {object}{request}}}}}"#
    )
}

/// A pod whose container's claim says more than we know of.
fn claiming(future: &str) -> String {
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
fn a_review_cut_off_anywhere_has_no_answer() {
    let whole = review();
    assert_eq!(decide(&whole).unwrap(), "injected");
    for end in 0..whole.len() {
        assert!(decide(&whole[..end]).is_err(), "{}", &whole[..end]);
    }
    assert!(decide(whole.clone() + "{}").is_err(), "two documents");
    assert!(decide(format!("\u{feff}{whole}")).is_err(), "a byte order mark");
}

/// On a stack that is an eighth of a server thread's.
#[test]
fn no_depth_reaches_the_stack() {
    let depth = 100_000;
    let bombs = [("[".repeat(depth), "]".repeat(depth)), ("{\"a\":".repeat(depth) + "1", "}".repeat(depth))];
    let bombs = bombs.into_iter().flat_map(|(open, close)| [open.clone() + &close, open]);
    let attack = move || {
        for bomb in bombs {
            let closed = !bomb.ends_with(['[', '1']);
            for (place, expected) in [
                (pod("", &format!(r#", "future": {bomb}"#)), "injected"),
                (pod("", &format!(r#", "resources": {{"limits": {{"x": {bomb}}}}}"#)), "injected"),
                (
                    pod("", &format!(r#", "resources": {{"limits": {{"cpu": {bomb}}}}}"#)),
                    "skipped: undecodable",
                ),
                (pod("", &format!(r#", "volumes": {bomb}"#)), "skipped: undecodable"),
                (pod(&format!(r#""labels": {{"a": {bomb}}}"#), ""), "skipped: undecodable"),
                (pod(&format!(r#""annotations": {{"a": {bomb}}}"#), ""), "skipped: undecodable"),
                (claiming(&bomb), "injected"),
                (envelope("", &bomb), "skipped: undecodable"),
                (envelope(&format!(r#", "options": {bomb}"#), r#"{"spec": {}}"#), "injected"),
            ] {
                let decision = decide(place);
                assert_eq!(decision.is_ok(), closed, "{decision:?}");
                assert!(
                    decision.is_err() || decision == Ok(expected.to_owned()),
                    "{decision:?}, not {expected}"
                );
            }
            assert!(decide(&bomb).is_err());
            assert!(decide(envelope(&format!(r#", "uid": {bomb}"#), "{}")).is_err());
        }
    };
    thread::Builder::new().stack_size(256 << 10).spawn(attack).unwrap().join().unwrap();
}

/// To the API server the last of two equal keys counts. Where we read it another way, we must not patch.
#[test]
fn a_key_that_is_there_twice_is_read_as_the_api_server_does_or_not_at_all() {
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

/// Nothing in a list can be patched by name.
#[test]
fn a_list_is_no_object() {
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

/// What is copied has to be what every reader of the patch can read.
#[test]
fn what_a_claim_says_that_we_do_not_know_is_not_copied() {
    for future in [r#"{"a": ["\u00e4", 1.5, null]}"#, r#"[["\ud800"]]"#, "1e400"] {
        let body = claiming(future);
        let admission = Injector::new(Settings::default()).admit(body.as_bytes(), &Namespaces::default());
        let answer = Answer::read(&admission.unwrap().reply, "u-1");
        let patch = answer.patch.expect("it is injected");
        let container =
            patch.iter().find(|operation| operation.path().as_str() == "/spec/initContainers").unwrap();
        let container = serde_json::to_value(container).unwrap()["value"][0].take();
        assert_eq!(container["resources"]["claims"], json!([{"name": "gpu"}]), "{future}");
    }
}

#[test]
fn text_and_numbers_that_rust_does_not_hold_cost_no_desktop() {
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

const HEAD: &str = "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";

impl Server {
    /// Sends the bytes over a connection of their own, and reads until the server closes it.
    fn exchange(&self, request: &str) -> String {
        let mut stream = self.certificate.connect(self.webhook).unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn is_well(&self) {
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
fn size_is_bounded_however_it_is_sent() {
    let server = Server::start();
    let large = pod(&format!(r#""annotations": {{"pad": "{}"}}"#, "x".repeat(3 << 20)), "");
    let response = server.mutate(&large);
    assert!(response.status == 200 && response.body.contains("JSONPatch"), "{}", response.status);
    let bomb = pod("", &format!(r#", "future": {}{}"#, "[".repeat(1 << 20), "]".repeat(1 << 20)));
    assert_eq!(server.mutate(&bomb).status, 200);
    // All of it is sent before the answer is read, which has to be there and not a reset.
    let body = " ".repeat(10_000_000);
    let close = "connection: close\r\n";
    let whole = format!("{HEAD}{close}content-length: {}\r\n\r\n{body}", body.len());
    assert!(server.exchange(&whole).starts_with("HTTP/1.1 413"));
    let in_chunks = format!("{HEAD}{close}transfer-encoding: chunked\r\n\r\n{}", chunked(&body, 1 << 16));
    assert!(server.exchange(&in_chunks).starts_with("HTTP/1.1 413"));
    let headers = format!("{HEAD}pad: {}\r\n\r\n", "x".repeat(1 << 20));
    assert!(server.exchange(&headers).starts_with("HTTP/1.1 431"));
    server.is_well();
}

#[test]
fn every_way_to_frame_a_request_is_read_or_refused() {
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
    server.is_well();
}

#[test]
fn who_sends_a_byte_at_a_time_is_given_up() {
    let server = Server::start();
    let mut stream = server.certificate.connect(server.webhook).unwrap();
    stream.sock.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    write!(stream, "{HEAD}content-length: 100000\r\n\r\n").unwrap();
    let began = Instant::now();
    let mut answer = [0; 12];
    while let Err(error) = stream.read_exact(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(began.elapsed() < Duration::from_secs(8), "never given up");
        stream.write_all(b" ").unwrap();
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
    server.is_well();
}

#[test]
fn connections_cost_little_and_hold_nobody_up() {
    let server = Server::start();
    let before = server.peak_kibibytes();
    // The first record of a handshake and no more of it; something else than TLS; nothing at all.
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
    // As the API server's, but more than it would keep: each has had an answer.
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
    server.is_well();
    let each = (server.peak_kibibytes() - before) / 600;

    assert!(each < 50, "{each} KiB for a connection");
    drop((half_open, idle));
    server.is_well();
}

#[test]
fn a_sender_that_goes_away_leaves_nothing_behind() {
    let server = Server::start();
    for _ in 0..50 {
        let mut stream = server.certificate.connect(server.webhook).unwrap();
        write!(stream, "{HEAD}content-length: 4000000\r\n\r\n{{").unwrap();
        stream.flush().unwrap();
    }
    // Two of that length have room at once.
    eventually("room for two large bodies", || {
        let held: Vec<_> = (0..2).map(|_| server.announce(4_000_000)).collect();
        held.iter().all(|(answer, _)| answer == b"HTTP/1.1 100").then_some(())
    });
    server.is_well();
}
