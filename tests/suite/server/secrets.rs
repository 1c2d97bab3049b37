//! Secrets of requests and files are not in logs, answers, errors or metrics.

use std::{fs, io};

use base64::{Engine, prelude::BASE64_STANDARD};
use kit::http;
use serde_json::{Value, json};

use super::Server;

/// A part of every secret of this test.
const SECRET: &str = "s3cr3t";

fn reviews() -> Vec<(&'static str, String)> {
    let environment = json!([{"name": "PASSWORD", "value": SECRET}]);
    let container = json!({"name": "desktop", "env": environment, "args": [SECRET], "command": [SECRET]});
    let annotations = json!({"example.com/token": SECRET, "vdi-metrics.io/port": SECRET,
        "vdi-metrics.io/interval": format!("{SECRET}\n{SECRET}")});
    let pod = json!({"metadata": {"name": "alice", "annotations": annotations}, "spec": {"containers": [container]}});
    let review = |object: &Value, uid: &Value| {
        let request = json!({"uid": uid, "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "object": object, "userInfo": {"username": "eve", "extra": {"token": [SECRET]}}});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
            .to_string()
    };
    let mut undecodable = pod.clone();
    undecodable["spec"]["containers"][0]["ports"] = json!(SECRET);
    vec![
        ("valid", review(&pod, &json!("u-1"))),
        ("a pod that cannot be decoded", review(&undecodable, &json!("u-2"))),
        ("no uid", review(&pod, &json!(null))),
        ("another kind", json!({"apiVersion": "v1", "kind": "Secret", "data": SECRET}).to_string()),
        ("not JSON", format!("{{\"password\": {SECRET}")),
        ("not JSON at all", SECRET.to_owned()),
    ]
}

/// Sends a body with credentials.
fn post(server: &Server, content_type: &str, body: &str) -> io::Result<http::Response> {
    let length = body.len();
    let head = format!(
        "POST /mutate?timeout=2s&token={SECRET} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer \
         {SECRET}\r\ncookie: {SECRET}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    http::exchange(server.certificate.connect(server.webhook)?, &(head + body))
}

#[test]
fn no_secret_is_logged_answered_or_exposed() {
    let server = Server::start_with(&["--log", "debug"], "/nonexistent");
    for (name, body) in reviews() {
        let response = post(&server, "application/json", &body).unwrap();
        let mut shown = response.body.clone();
        if response.status == 200 {
            let answer: Value = serde_json::from_str(&response.body).unwrap();
            let patch = answer["response"]["patch"].as_str().unwrap_or_default();
            shown += &String::from_utf8(BASE64_STANDARD.decode(patch).unwrap()).unwrap();
        }
        // The value of an override is in the warning of the answer, for the user who wrote it.
        let of_override = name == "valid";
        assert!(of_override || !shown.contains(SECRET), "{name}: {shown}");
    }
    assert_eq!(post(&server, SECRET, "{}").unwrap().status, 415);
    let seen = server.certificate.get(server.metrics, "/metrics").unwrap().body;
    assert!(!seen.contains(SECRET), "{seen}");
    let log = server.process.log();
    assert!(log.matches("Rejected a request").count() >= 4 && log.contains("Admitted"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    let key = fs::read_to_string(server.certificate.key()).unwrap();
    let line = key.lines().nth(1).unwrap();
    assert!(!log.contains(line));
}

/// The API server may send a token (KEP-6060). The server does not check it, so a wrong one has no effect.
#[test]
fn the_authorization_header_of_a_review_has_no_effect() {
    let server = Server::start();
    let (_, body) = reviews().remove(0);
    let with = post(&server, "application/json", &body).unwrap();
    assert_eq!((with.status, with.body), (200, server.mutate(&body).body));
}
