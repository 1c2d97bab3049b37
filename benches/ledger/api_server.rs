//! An API server that lists and watches generated pods, and stores the objects that a replica of the server writes. It answers in JSON,
//! as the real one does if the client asks for JSON, and supports pages and streaming lists.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use anyhow::Result;
use serde_json::{Value, json};

use super::pods::PodTexts;

/// The API server. Its threads end with the program.
#[derive(Debug)]
pub(crate) struct FakeApiServer {
    pub(crate) address: SocketAddr,
    state: Arc<ApiState>,
}

#[derive(Debug)]
struct ApiState {
    /// Number of pods in a list.
    pods: usize,
    texts: PodTexts,
    events: Mutex<PodEvents>,
    grown: Condvar,
    /// Objects by path.
    objects: Mutex<BTreeMap<String, Value>>,
    /// Bytes of the stored ConfigMaps.
    written: AtomicU64,
}

/// The events since the start.
#[derive(Debug)]
struct PodEvents {
    /// The resource version of the last event.
    version: u64,
    lines: Vec<Arc<str>>,
}

/// A request.
struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// The label selector of the sessions, as it is in a URL. All pods match it.
const SELECTOR: &str = "vdi-metrics.io%2Finjected%3Dtrue";

/// The resource version of the list.
const LISTED: u64 = 1_000_000;

// === impl FakeApiServer ===

impl FakeApiServer {
    pub(crate) fn start(pods: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(ApiState {
            pods,
            texts: PodTexts::new()?,
            events: Mutex::new(PodEvents { version: LISTED, lines: vec![] }),
            grown: Condvar::new(),
            objects: Mutex::default(),
            written: AtomicU64::new(0),
        });
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&served);
                // A client may disconnect at any time.
                thread::spawn(move || _ = state.answer(stream));
            }
        });
        Ok(Self { address, state })
    }

    pub(crate) fn texts(&self) -> &PodTexts {
        &self.state.texts
    }

    /// Sends the events of the start or of the end of a pod.
    pub(crate) fn send(&self, number: usize, is_end: bool) {
        let mut events = lock(&self.state.events);
        let new = self.state.texts.events(number, is_end, events.version);
        events.version += new.len() as u64;
        events.lines.extend(new.into_iter().map(Arc::from));
        self.state.grown.notify_all();
    }

    /// Bytes of the ConfigMaps that were stored.
    pub(crate) fn written(&self) -> u64 {
        self.state.written.load(Relaxed)
    }
}

// === impl ApiState ===

impl ApiState {
    /// Answers one request and closes the connection.
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let request = Request::read(&stream)?;
        let is_pods = request.is_for_pods();
        let flag = |name: &str| request.query.get(name).is_some_and(|value| value == "true" || value == "1");
        let mut output = BufWriter::with_capacity(1 << 16, stream);
        if flag("watch") {
            head(&mut output, 200)?;
            return self.watch(&mut output, &request, is_pods, flag("sendInitialEvents"));
        }
        let (status, answer) = match request.method.as_str() {
            "GET" if is_pods => return self.list(&mut output, &request),
            "GET" => self.read(&request.path),
            _ => self.store(&request),
        };
        head(&mut output, status)?;
        output.write_all(answer.to_string().as_bytes())?;
        output.flush()
    }

    fn list(&self, output: &mut impl Write, request: &Request) -> std::io::Result<()> {
        let number = |name: &str| request.query.get(name).and_then(|value| value.parse::<usize>().ok());
        let first = number("continue").unwrap_or(0);
        let limit = number("limit").filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let end = first.saturating_add(limit).min(self.pods);
        let next = if end < self.pods { end.to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": LISTED.to_string(), "continue": next});
        head(output, 200)?;
        write!(output, "{{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{metadata},\"items\":[")?;
        for number in first..end {
            let comma = if number > first { "," } else { "" };
            write!(output, "{comma}{}", self.texts.running(number))?;
        }
        output.write_all(b"]}")?;
        output.flush()
    }

    /// Sends the list if the client asks for it, and the events after the resource version.
    fn watch(
        &self,
        output: &mut impl Write,
        request: &Request,
        is_pods: bool,
        with_list: bool,
    ) -> std::io::Result<()> {
        if with_list {
            for number in (0..self.pods).filter(|_| is_pods) {
                writeln!(output, "{{\"type\":\"ADDED\",\"object\":{}}}", self.texts.running(number))?;
            }
            let end = json!({"k8s.io/initial-events-end": "true"});
            let metadata = json!({"resourceVersion": LISTED.to_string(), "annotations": end});
            let bookmark = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata});
            writeln!(output, "{}", json!({"type": "BOOKMARK", "object": bookmark}))?;
        }
        output.flush()?;
        let version = request.query.get("resourceVersion").and_then(|version| version.parse::<u64>().ok());
        let mut sent =
            version.filter(|_| !with_list).map_or(0, |version| version.saturating_sub(LISTED) as usize);
        loop {
            let new = self.after(sent);
            sent += new.len();
            for line in new.iter().filter(|_| is_pods) {
                output.write_all(line.as_bytes())?;
            }
            output.flush()?;
        }
    }

    /// Waits for events after this number of events.
    fn after(&self, sent: usize) -> Vec<Arc<str>> {
        let events = lock(&self.events);
        let events = self.grown.wait_while(events, |events| events.lines.len() <= sent);
        events.unwrap_or_else(PoisonError::into_inner).lines.iter().skip(sent).cloned().collect()
    }

    /// The object, or an empty list.
    fn read(&self, path: &str) -> (u16, Value) {
        if let Some(object) = lock(&self.objects).get(path) {
            return (200, object.clone());
        }
        if path == "/version" {
            return (
                200,
                json!({"major": "1", "minor": "37", "gitVersion": "v1.37.2", "platform": "linux/amd64"}),
            );
        }
        if path.contains("/leases/") || path.contains("/configmaps/") {
            return (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"}),
            );
        }
        let metadata = json!({"resourceVersion": LISTED.to_string()});
        (200, json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": []}))
    }

    fn store(&self, request: &Request) -> (u16, Value) {
        let Request { method, path, body, .. } = request;
        let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
            return (400, json!({"kind": "Status", "code": 400}));
        };
        if path.contains("/configmaps") {
            self.written.fetch_add(body.len() as u64, Relaxed);
        }
        object["metadata"]["resourceVersion"] = json!("1");
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let path = if method == "POST" { format!("{path}/{name}") } else { path.clone() };
        lock(&self.objects).insert(path, object.clone());
        (200, object)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn head(output: &mut impl Write, status: u16) -> std::io::Result<()> {
    write!(output, "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
}

// === impl Request ===

impl Request {
    /// Whether the generated pods are the answer. Other watches of the server select pods without the label, which do not exist.
    fn is_for_pods(&self) -> bool {
        let selector = self.query.get("labelSelector").filter(|selector| !selector.is_empty());
        self.path.ends_with("/pods") && selector.is_none_or(|selector| selector == SELECTOR)
    }

    fn read(stream: &TcpStream) -> std::io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let lengths = head.lines().filter_map(|line| line.split_once(": "));
        let length = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.filter_map(|(_, value)| value.parse().ok()).next().unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let query = query.split('&').filter_map(pair).collect();
        Ok(Self { method: method.to_owned(), path: path.to_owned(), query, body })
    }
}
