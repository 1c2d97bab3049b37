//! An API server that answers TokenReviews and SubjectAccessReviews, and records them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use serde_json::{Value, json};

/// The token of a user that may read the metrics.
pub(super) const GOOD: &str = "good-token-4711";
/// The token of a user that may not read the metrics.
pub(super) const WEAK: &str = "weak-token-4712";
/// The user of [`GOOD`].
pub(super) const SCRAPER: &str = "system:serviceaccount:monitoring:prometheus";

/// How the API server answers a review.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Answers,
    /// Answers with this status and a Status object.
    Fails(u16),
    /// Accepts the connection and does not answer.
    Hangs,
}

/// A running API server.
#[derive(Clone)]
pub(super) struct ApiServer {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    mode: Mode,
    reviews: Vec<Value>,
}

// === impl ApiServer ===

impl ApiServer {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State { mode: Mode::Answers, reviews: vec![] };
        let this = Self { url, state: Arc::new(Mutex::new(state)) };
        let server = this.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                thread::spawn(move || _ = server.answer(stream));
            }
        });
        this
    }

    pub(super) fn set(&self, mode: Mode) {
        self.state().mode = mode;
    }

    /// The `spec` of every review of this kind, in the order of their arrival.
    pub(super) fn reviews(&self, kind: &str) -> Vec<Value> {
        let of_kind = |review: &&Value| review["kind"] == kind;
        self.state().reviews.iter().filter(of_kind).map(|review| review["spec"].clone()).collect()
    }

    /// Answers one request and closes the connection.
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut request, mut length) = (String::new(), 0);
        reader.read_line(&mut request)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, answer) = match request.starts_with("POST ") {
            true => self.review(&serde_json::from_slice(&body)?),
            false => (404, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})),
        };
        let (mut stream, answer) = (stream, answer.to_string());
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n");
        write!(stream, "{head}content-length: {}\r\n\r\n{answer}", answer.len())
    }

    fn review(&self, review: &Value) -> (u16, Value) {
        let mode = {
            let mut state = self.state();
            state.reviews.push(review.clone());
            state.mode
        };
        let mut answer = review.clone();
        answer["status"] = match mode {
            Mode::Answers if review["kind"] == "TokenReview" => token_status(&review["spec"]),
            Mode::Answers => access_status(&review["spec"]),
            Mode::Fails(code) => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                    "message": "the API server fails in this test"});
                return (code, status);
            }
            Mode::Hangs => loop {
                thread::park();
            },
        };
        (201, answer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tokens are for the audiences `vdi-metrics` and `https://kubernetes.default.svc`.
fn token_status(spec: &Value) -> Value {
    let name = match spec["token"].as_str().unwrap() {
        GOOD => SCRAPER,
        WEAK => "weak",
        _ => return json!({"user": {}, "error": "[invalid bearer token]"}),
    };
    let of_token = json!(["vdi-metrics", "https://kubernetes.default.svc"]);
    let requested = spec["audiences"].as_array().cloned().unwrap_or_default();
    let accepted = of_token.as_array().unwrap().iter().filter(|audience| requested.contains(audience));
    let user = json!({"username": name, "uid": "u-1", "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["prometheus-0"]}});
    json!({"authenticated": true, "user": user, "audiences": accepted.collect::<Vec<_>>()})
}

fn access_status(spec: &Value) -> Value {
    let wanted = json!({"path": "/metrics", "verb": "get"});
    json!({"allowed": spec["user"] == SCRAPER && spec["nonResourceAttributes"] == wanted})
}
