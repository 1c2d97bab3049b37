//! The session metrics of the real server, with a fake API server that lists and watches pods and stores other objects.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use kit::process::eventually;
use serde_json::{Value, json};
use vdi_metrics::{
    admission::{Injector, Namespaces, Settings},
    contract::key,
};

use crate::server::Server;

/// An API server with a list of pods and a stream of their changes. It stores the Lease and the ConfigMaps.
struct ApiServer {
    address: SocketAddr,
    state: Arc<ApiState>,
}

struct ApiState {
    /// The pods that exist, by UID.
    pods: Mutex<BTreeMap<String, Value>>,
    /// The changes of pods. The first one has the resource version 2.
    events: Mutex<Vec<String>>,
    has_event: Condvar,
    /// Objects by path.
    objects: Mutex<BTreeMap<String, Value>>,
}

impl ApiServer {
    fn start(pods: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pods = Mutex::new(pods.into_iter().map(|pod| (uid(&pod), pod)).collect());
        let (events, has_event, objects) = (Mutex::default(), Condvar::new(), Mutex::default());
        let state = Arc::new(ApiState { pods, events, has_event, objects });
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&served);
                thread::spawn(move || _ = answer(stream, &state));
            }
        });
        Self { address, state }
    }

    /// Sends an event. As on the real API server, each event has a higher resource version than the one before.
    fn send(&self, kind: &str, pod: &Value) {
        let mut pod = pod.clone();
        let mut events = self.state.events.lock().unwrap();
        pod["metadata"]["resourceVersion"] = json!((events.len() + 2).to_string());
        let mut pods = self.state.pods.lock().unwrap();
        match kind {
            "DELETED" => pods.remove(&uid(&pod)),
            _ => pods.insert(uid(&pod), pod.clone()),
        };
        // The type comes first, as on the real API server.
        events.push(format!("{{\"type\":\"{kind}\",\"object\":{pod}}}\n"));
        self.state.has_event.notify_all();
    }
}

fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Answers one request and closes the connection; a watch lasts as long as the test.
fn answer(stream: TcpStream, state: &ApiState) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head)?;
    }
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (status, answer) = match (method, query.contains("watch=true")) {
        // As an API server before streaming lists.
        ("GET", true) if query.contains("sendInitialEvents=true") => {
            (422, json!({"code": 422, "message": "no streaming lists"}))
        }
        ("GET", true) => return watch(stream, path, query, state),
        ("GET", false) => read(path, state),
        _ => write(method, path, &body, state),
    };
    respond(stream, status, &answer.to_string())
}

fn respond(mut stream: TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Sends the changes after the resource version of the query.
fn watch(mut stream: TcpStream, path: &str, query: &str, state: &ApiState) -> std::io::Result<()> {
    respond(stream.try_clone()?, 200, "")?;
    let version = query.split('&').find_map(|part| part.strip_prefix("resourceVersion=")?.parse().ok());
    let mut sent = version.unwrap_or(1) - 1;
    let mut events = state.events.lock().unwrap();
    loop {
        for event in events.iter().skip(sent).filter(|_| path.ends_with("/pods")) {
            stream.write_all(event.as_bytes())?;
        }
        sent = events.len();
        events = state.has_event.wait(events).unwrap();
    }
}

/// The object, or a list of objects.
fn read(path: &str, state: &ApiState) -> (u16, Value) {
    if let Some(object) = state.objects.lock().unwrap().get(path) {
        return (200, object.clone());
    }
    if path.contains("/leases/") {
        return (
            404,
            json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "no such object"}),
        );
    }
    let version = state.events.lock().unwrap().len() + 1;
    let pods = state.pods.lock().unwrap();
    let items: Vec<_> = pods.values().filter(|_| path.ends_with("/pods")).collect();
    (
        200,
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version.to_string()}, "items": items}),
    )
}

/// Stores the object of a request.
fn write(method: &str, path: &str, body: &[u8], state: &ApiState) -> (u16, Value) {
    let mut object: Value = serde_json::from_slice(body).unwrap();
    object["metadata"]["resourceVersion"] = json!("1");
    let name = object["metadata"]["name"].as_str().unwrap();
    let path = if method == "POST" { format!("{path}/{name}") } else { path.to_owned() };
    state.objects.lock().unwrap().insert(path, object.clone());
    (200, object)
}

/// An injected session pod with the labels of the operator's platform.
fn pod(uid: &str, status: &Value) -> Value {
    let settings = "profiles: [{name: acme, matchLabels: {acme/desktop: \"yes\"}, template: acme/template}]";
    let injector = Injector::new(Settings::parse(settings, "config.yaml".as_ref()).unwrap());
    let labels = json!({"acme/desktop": "yes", "acme/template": "cad"});
    let metadata =
        json!({"name": uid, "namespace": "desktops", "uid": uid, "resourceVersion": "1", "labels": labels});
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {"restartPolicy": "Never", "containers": [{"name": "desktop", "image": "desktop:1"}]}});
    let decision = injector.consider(pod.to_string().as_bytes(), "desktops", &Namespaces::default());
    json_patch::patch(&mut pod, &decision.patch.unwrap()).unwrap();
    assert_eq!(pod["metadata"]["labels"][key::INJECTED], "true");
    pod["status"] = status.clone();
    pod
}

fn status(phase: &str, state: &Value) -> Value {
    json!({"phase": phase, "startTime": "2026-01-01T00:00:00Z",
        "containerStatuses": [{"name": "desktop", "state": state}]})
}

#[test]
fn a_session_has_the_template_of_the_profile_and_is_counted_once_when_its_label_comes_and_goes() {
    let started = json!({"startedAt": "2026-01-01T00:00:01Z"});
    // This time is in the future, so that the session ends after the start of the server.
    let ended = json!({"exitCode": 3, "reason": "Error", "startedAt": "2026-01-01T00:00:01Z",
        "finishedAt": "2100-01-01T00:00:00Z"});
    let running = pod("a", &status("Running", &json!({"running": started})));
    let failed = pod("a", &status("Failed", &json!({"terminated": ended})));
    let api_server = ApiServer::start(vec![running]);
    let server = Server::with_cluster(&format!("http://{}", api_server.address));
    let value = |name: &str, labels: &[(&str, &str)]| server.exposition().value(name, labels);
    let in_phase = |phase| value("vdi_sessions_total", &[("phase", phase)]);
    let failures = || value("vdi_session_failures_total", &[("template", "cad"), ("reason", "error")]);
    let becomes =
        |what: &str, phase, count| eventually(what, || (in_phase(phase) == Some(count)).then_some(()));

    becomes("one session runs", "Running", 1.0);
    eventually("the template is saved", || (failures() == Some(0.0)).then_some(()));
    api_server.send("MODIFIED", &failed);
    becomes("the session has failed", "Failed", 1.0);
    for _ in 0..2 {
        // The API server reports a lost label as a deletion, and a regained label as a new object.
        api_server.send("DELETED", &failed);
        becomes("the pod has lost its label", "Failed", 0.0);
        api_server.send("ADDED", &failed);
        becomes("the pod has regained its label", "Failed", 1.0);
    }
    eventually("the failure is saved", || (failures() == Some(1.0)).then_some(()));
    assert_eq!(value("vdi_session_duration_seconds_count", &[("template", "cad")]), Some(1.0));
}

#[test]
fn a_desktop_that_crashes_before_its_deletion_is_a_failure_and_a_deleted_desktop_is_not() {
    let started = "2026-01-01T00:00:01Z";
    let running = |uid| pod(uid, &status("Running", &json!({"running": {"startedAt": started}})));
    let ended = |uid, code: i32| {
        let end = json!({"exitCode": code, "reason": "Error", "startedAt": started, "finishedAt": "2026-01-01T00:10:00Z"});
        pod(uid, &status("Failed", &json!({"terminated": end})))
    };
    let deleted = |mut pod: Value, timestamp: &str, grace: u32| {
        pod["metadata"]["deletionTimestamp"] = json!(timestamp);
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        pod
    };
    let api_server = ApiServer::start(vec![running("crashes"), running("stops")]);
    let server = Server::with_cluster(&format!("http://{}", api_server.address));
    let value = |name: &str, labels: &[(&str, &str)]| server.exposition().value(name, labels);
    let ends = |reason| value("vdi_session_ended_total", &[("template", "cad"), ("reason", reason)]);
    let in_phase = |phase| value("vdi_sessions", &[("template", "cad"), ("pool", "none"), ("phase", phase)]);

    // Both exits are at 00:10:00. The first request to delete `stops` is at 00:09:59.
    api_server.send("MODIFIED", &deleted(running("stops"), "2026-01-01T00:10:29Z", 30));
    eventually("a desktop terminates", || (in_phase("Terminating") == Some(1.0)).then_some(()));
    for (uid, code, request) in
        [("crashes", 3, "2026-01-01T00:11:00Z"), ("stops", 143, "2026-01-01T00:10:01Z")]
    {
        let last = deleted(ended(uid, code), request, 0);
        api_server.send("MODIFIED", &last);
        api_server.send("DELETED", &last);
    }
    eventually("both sessions have ended", || {
        (ends("deleted") == Some(1.0) && ends("error") == Some(1.0)).then_some(())
    });
    assert_eq!((ends("completed"), ends("unknown")), (Some(0.0), Some(0.0)));
    let failures = |reason| value("vdi_session_failures_total", &[("template", "cad"), ("reason", reason)]);
    assert_eq!((failures("error"), failures("deleted")), (Some(1.0), None));
    assert_eq!(value("vdi_session_duration_seconds_sum", &[("template", "cad")]), Some(1200.0));
}
