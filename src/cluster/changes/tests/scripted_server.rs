//! An API server that gives one scripted answer for each request.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Answer to a request.
#[derive(Debug)]
pub(super) enum ScriptedAnswer {
    /// A JSON document.
    Object(String),
    /// A status with this code and cause.
    Refusal(u16, &'static str),
    /// The lines of a watch.
    Events(Vec<String>, WatchEnd),
}

/// How a watch ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum WatchEnd {
    /// It stays open, without further events.
    Open,
    /// The server ends the response.
    Finished,
    /// The connection breaks in the middle of an event.
    Cut,
}

pub(super) struct ScriptedServer {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// The cause of a version of the future.
pub(super) const TOO_LARGE: &str = "ResourceVersionTooLarge";

/// A list with objects by `name@version`.
pub(super) fn list(version: &str, objects: &[&str], next: &str) -> String {
    let items: Vec<Json> = objects.iter().map(|it| object(it)).collect();
    json!({"metadata": {"resourceVersion": version, "continue": next}, "items": items}).to_string()
}

/// An event of the object `name@version`.
pub(super) fn event(kind: &str, it: &str) -> String {
    // The API server writes the type first.
    format!(r#"{{"type":"{kind}","object":{}}}"#, object(it))
}

pub(super) fn bookmark(version: &str) -> String {
    bookmark_with(version, &json!({}))
}

/// The bookmark after the objects of a streaming list.
pub(super) fn list_end(version: &str) -> String {
    bookmark_with(version, &json!({"k8s.io/initial-events-end": "true"}))
}

fn bookmark_with(version: &str, annotations: &Json) -> String {
    let metadata = json!({"resourceVersion": version, "creationTimestamp": null, "annotations": annotations});
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata});
    format!(r#"{{"type":"BOOKMARK","object":{object}}}"#)
}

fn object(it: &str) -> Json {
    let (name, version) = it.split_once('@').unwrap();
    let metadata = json!({"name": name, "uid": format!("uid-{name}"), "resourceVersion": version});
    json!({"metadata": metadata, "data": {"name": name}})
}

fn status(code: u16, cause: &str) -> Json {
    let details = json!({"causes": [{"reason": cause, "message": cause}]});
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "refused",
           "reason": "Reason", "details": details, "code": code})
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

// === impl ScriptedServer ===

impl ScriptedServer {
    pub(super) async fn start(script: Vec<ScriptedAnswer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            // A connection that is dropped is closed.
            let mut open = vec![];
            for answer in script {
                let mut connection = listener.accept().await.unwrap().0;
                let request = request(&mut connection).await;
                seen.lock().unwrap().push(request);
                connection.write_all(answer.bytes().as_bytes()).await.unwrap();
                if matches!(answer, ScriptedAnswer::Events(_, WatchEnd::Open)) {
                    open.push(connection);
                }
            }
            std::future::pending().await
        });
        Self { address, requests, task }
    }

    /// The queries of the requests.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// An event with a status.
    pub(super) fn error(code: u16, cause: &str) -> String {
        format!(r#"{{"type":"ERROR","object":{}}}"#, status(code, cause))
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl ScriptedAnswer ===

impl ScriptedAnswer {
    fn bytes(&self) -> String {
        let head = |code: u16, length: &str| {
            format!(
                "HTTP/1.1 {code} Answer\r\ncontent-type: application/json\r\nconnection: close\r\n{length}\r\n\r\n"
            )
        };
        let complete = |code, body: &str| head(code, &format!("content-length: {}", body.len())) + body;
        match self {
            Self::Object(body) => complete(200, body),
            Self::Refusal(code, cause) => complete(*code, &status(*code, cause).to_string()),
            Self::Events(lines, end) => {
                let events: String = lines.iter().map(|line| chunk(&format!("{line}\n"))).collect();
                let end = match end {
                    WatchEnd::Open => String::new(),
                    WatchEnd::Finished => "0\r\n\r\n".to_owned(),
                    WatchEnd::Cut => chunk(r#"{"type":"ADDED","object":{"metadata":{"resourceVersion":"77""#),
                };
                head(200, "transfer-encoding: chunked") + &events + &end
            }
        }
    }
}

/// Reads a request and returns its query.
async fn request(connection: &mut TcpStream) -> String {
    let mut head = String::new();
    let mut bytes = [0; 4096];
    while !head.ends_with("\r\n\r\n") {
        let length = connection.read(&mut bytes).await.unwrap();
        assert_ne!(length, 0, "an incomplete request");
        head += std::str::from_utf8(&bytes[..length]).unwrap();
    }
    let uri = head.split(' ').nth(1).unwrap();
    assert!(uri.starts_with("/api/v1/namespaces/default/configmaps?"), "{uri}");
    uri.split_once('?').unwrap().1.trim_start_matches('&').replace("%3D", "=")
}
