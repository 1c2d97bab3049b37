//! The real server over TLS: its answers, its limits, its shutdown.

mod authentication;
mod certificate_files;
mod client_certificates;
mod configuration;
mod connections;
mod secrets;
mod shutdown;
mod tls_versions;

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use kit::{
    exposition::Exposition,
    http::{self, Response},
    process::{Process, eventually},
    tls::Certificate,
};
use serde_json::{Value, json};

/// A running server and its certificate.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) certificate: Certificate,
    pub(crate) webhook: SocketAddr,
    metrics: SocketAddr,
    health: SocketAddr,
    /// Exists as long as the server, which reads it in the background.
    #[expect(dead_code, reason = "deletes the file when it is dropped")]
    kubeconfig: Option<tempfile::NamedTempFile>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[], "/nonexistent")
    }

    /// Starts a server for the cluster whose API server has this URL.
    pub(crate) fn with_cluster(url: &str) -> Self {
        Self::with_cluster_and(&[], url)
    }

    fn with_cluster_and(arguments: &[&str], url: &str) -> Self {
        let kubeconfig = kubeconfig(url, &json!({}));
        let server = Self::start_with(arguments, kubeconfig.path().to_str().unwrap());
        Self { kubeconfig: Some(kubeconfig), ..server }
    }

    fn start_with(arguments: &[&str], kubeconfig: &str) -> Self {
        let certificate = Certificate::for_loopback().unwrap();
        let process = Process::spawn(serve(&certificate).args(arguments).env("KUBECONFIG", kubeconfig));
        let address = |server: &str| {
            let line = process.logged(&format!("server=\"{server}\""));
            line.split("address=").nth(1).unwrap().trim().parse().unwrap()
        };
        let (webhook, metrics, health) = (address("webhook"), address("metrics"), address("health"));
        Self { process, certificate, webhook, metrics, health, kubeconfig: None }
    }

    pub(crate) fn mutate(&self, body: &str) -> Response {
        self.certificate.post(self.webhook, "/mutate", "application/json", body).unwrap()
    }

    /// Peak of the resident memory.
    pub(crate) fn peak_kibibytes(&self) -> u32 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Announces a body of `length` bytes without sending it; returns the start of the answer.
    pub(crate) fn announce_body(&self, length: usize) -> ([u8; 12], impl Write + use<>) {
        let head =
            "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n";
        let mut stream = self.certificate.connect(self.webhook).unwrap();
        stream.write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        (answer, stream)
    }

    /// The server waits for the limits of namespaces, and becomes ready without them after a timeout. It answers reviews in
    /// the meantime.
    fn becomes_ready_without_limits(&self) {
        let ready = || http::get(self.health, "/readyz").unwrap();
        assert_eq!(ready().status, 503);
        assert!(ready().body.contains("limits"), "{}", ready().body);
        assert_eq!(self.mutate(&review()).status, 200);
        eventually("ready", || (ready().status == 200).then_some(()));
        self.process.logged("Ready without LimitRanges");
    }

    pub(crate) fn exposition(&self) -> Exposition {
        let response = self.certificate.get(self.metrics, "/metrics").unwrap();
        assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4"));
        Exposition::parse(&response.body).unwrap()
    }
}

fn serve(certificate: &Certificate) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vdi-metrics"));
    command.env_clear().arg("serve").arg("--tls-cert").arg(certificate.cert());
    command.arg("--tls-key").arg(certificate.key());
    for listen in ["--listen", "--metrics-listen", "--health-listen"] {
        command.args([listen, "127.0.0.1:0"]);
    }
    // Most tests have no API server that could check a token. A later argument replaces this one.
    command.args(["--metrics-authentication", "none"]);
    command
}

pub(crate) fn review() -> String {
    let pod = json!({"metadata": {"name": "alice"}, "spec": {"containers": [{"name": "desktop"}]}});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let request = json!({"uid": "u-1", "kind": kind, "operation": "CREATE", "object": pod});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string()
}

/// A catalogue that is registered in the server and is not listed in `reference.rs` would have no row.
#[test]
fn every_metric_of_the_server_is_in_the_metric_reference() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let server = Server::start();
    let response = server.certificate.get(server.metrics, "/metrics").unwrap();
    let metrics: Vec<&str> =
        response.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(metrics.len() > 5, "{metrics:?}");
    for metric in metrics {
        assert!(page.contains(&format!("\n| `{metric}` |")), "docs/metrics.md has no row for {metric}");
    }
}

#[test]
fn a_review_is_answered_and_counted() {
    let server = Server::start();
    let response = server.mutate(&review());
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    let answer: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(answer["response"]["uid"], "u-1");
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    let seen = server.exposition();
    let injected = [("outcome", "injected"), ("reason", "opted_in")];
    assert_eq!(seen.value("vdi_metrics_admission_decisions_total", &injected), Some(1.0));
    assert_eq!(seen.value("vdi_metrics_admission_duration_seconds_count", &[]), Some(1.0));
    assert!(seen.value("vdi_metrics_admission_last_request_timestamp_seconds", &[]) > Some(1.7e9));
}

#[test]
fn a_request_without_a_review_is_rejected() {
    let server = Server::start();
    let post = |content_type: &str, body: &str| {
        let response = server.certificate.post(server.webhook, "/mutate", content_type, body).unwrap();
        (response.status, response.body.trim().to_owned())
    };
    assert_eq!(post("text/plain", &review()).0, 415);
    assert_eq!(post("application/json", ""), (400, "the body is empty".into()));
    assert_eq!(post("application/json; charset=utf-8", &review()).0, 200);
    let (status, message) = post("application/json", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}");
    assert_eq!(
        (status, message.as_str()),
        (400, "expected admission.k8s.io/v1 AdmissionReview, found v1 Pod")
    );
    assert_eq!(server.certificate.get(server.webhook, "/mutate").unwrap().status, 405);
    assert_eq!(server.certificate.get(server.webhook, "/metrics").unwrap().status, 404);
    let seen = server.exposition();
    assert_eq!(seen.value("vdi_metrics_admission_refusals_total", &[("reason", "malformed")]), Some(2.0));
    assert_eq!(seen.value("vdi_metrics_admission_refusals_total", &[("reason", "content_type")]), Some(1.0));
}

#[test]
fn a_body_that_is_too_large_is_rejected() {
    let server = Server::start();
    let large = format!("{{\"pad\": \"{}\"", "x".repeat(3 << 20));
    assert_eq!(server.mutate(&large).status, 400, "the server reads 3 MiB");
    let mut stream = server.certificate.connect(server.webhook).unwrap();
    let length = 5 << 20;
    write!(
        stream,
        "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
    .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn unfinished_bodies_use_bounded_memory() {
    let server = Server::start();
    let head = "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let answers = (0..20).map(|_| {
        let mut stream = server.certificate.connect(server.webhook).unwrap();
        let length = 4 << 20;
        stream.write_all(format!("{head}content-length: {length}\r\n\r\n").as_bytes()).unwrap();
        let _ = stream.write_all(&vec![b' '; length - 1]);
        stream
    });
    let unfinished: Vec<_> = answers.collect();
    let kibibytes = server.peak_kibibytes();
    // Two bodies fit, the other 18 are rejected. The memory limit of the Deployment is 64 MiB.
    assert!(kibibytes < 64 << 10, "{kibibytes} KiB");
    let rejected = [("reason", "busy")];
    let busy = server.exposition().value("vdi_metrics_admission_refusals_total", &rejected).unwrap();
    assert!(busy >= 18.0, "{busy}");
    drop(unfinished);
}

#[test]
fn unfinished_large_bodies_do_not_block_the_review_of_a_desktop() {
    let server = Server::start();
    let unfinished = [4, 4, 1].map(|mebibytes| server.announce_body(mebibytes << 20));
    assert_eq!(unfinished.each_ref().map(|(answer, _)| answer), [b"HTTP/1.1 100"; 3]);
    assert_eq!(server.mutate(&review()).status, 200);
    let in_flight = || server.exposition().value("vdi_metrics_admission_requests_in_flight", &[]).unwrap();
    eventually("the oldest unfinished body has ended for the third one", || {
        (in_flight() == 2.0).then_some(())
    });
    drop(unfinished);
    eventually("nothing in flight", || (in_flight() == 0.0).then_some(()));
}

#[test]
fn clients_that_send_nothing_do_not_delay_other_clients() {
    let server = Server::start();
    let before_handshake: Vec<_> = (0..100).map(|_| http::connect(server.webhook).unwrap()).collect();
    let mut before_body = server.certificate.connect(server.webhook).unwrap();
    let head =
        "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    before_body.write_all(head.as_bytes()).unwrap();
    let mut before_headers = server.certificate.connect(server.webhook).unwrap();
    before_headers.write_all(b"POST /mutate HTTP/1.1\r\nhost:").unwrap();
    let began = Instant::now();
    assert_eq!(server.mutate(&review()).status, 200);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let mut answer = [0; 12];
    before_body.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408", "the body has timed out");
    let closed = |mut stream: Box<dyn Read>| match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    assert!(
        before_handshake.into_iter().all(|stream| closed(Box::new(stream))),
        "a handshake has not timed out"
    );
    assert!(closed(Box::new(before_headers)), "the headers have not timed out");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// URL of an API server that refuses every connection: nothing listens on port 1 of loopback.
const UNREACHABLE: &str = "http://127.0.0.1:1";

/// A kubeconfig for the cluster whose API server has this URL.
fn kubeconfig(url: &str, user: &Value) -> tempfile::NamedTempFile {
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    fs::write(kubeconfig.path(), config.to_string()).unwrap();
    kubeconfig
}

#[test]
fn a_sign_in_that_hangs_delays_neither_admission_nor_shutdown() {
    let plugin = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sleep", "args": ["15"],
        "interactiveMode": "Never"});
    let kubeconfig = kubeconfig(UNREACHABLE, &json!({"exec": plugin}));
    let server = Server::start_with(&["--lame-duck", "0"], kubeconfig.path().to_str().unwrap());
    server.becomes_ready_without_limits();
    assert_eq!(server.mutate(&review()).status, 200);
    let (status, took) = server.process.terminate();
    assert!(status.success() && took < Duration::from_secs(3), "{status} after {took:?}");
}

#[test]
fn an_unreachable_cluster_does_not_delay_admission() {
    let kubeconfig = kubeconfig(UNREACHABLE, &json!({}));
    let server = Server::start_with(&[], kubeconfig.path().to_str().unwrap());
    server.process.logged("Cannot watch objects");
    server.becomes_ready_without_limits();
    assert_eq!(server.mutate(&review()).status, 200);
    let seen = server.exposition();
    assert_eq!(seen.series("vdi_sessions_total").count(), 0, "sessions that were not counted have no series");
}

#[test]
fn without_a_cluster_the_server_logs_once_that_it_does_not_count_sessions() {
    let server = Server::start();
    server.process.logged("does not count sessions");
    assert_eq!(server.mutate(&review()).status, 200);
    assert_eq!(server.process.log().matches("does not count sessions").count(), 1);
    assert_eq!(
        server.exposition().series("vdi_sessions_total").count(),
        0,
        "sessions that were not counted have no series"
    );
}

#[test]
fn a_failed_start_names_the_file_and_the_cause() {
    let certificate = Certificate::for_loopback().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, "sidecar:\n  imagePolicy: Always\n").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let (cert, key) = (certificate.cert(), certificate.key());
    for (arguments, expected) in [
        (["--tls-cert".into(), "/nowhere/tls.crt".into()], vec!["/nowhere/tls.crt", "No such file"]),
        (["--tls-cert".into(), key.display().to_string()], vec!["tls.key: no certificate"]),
        (
            ["--tls-key".into(), cert.display().to_string()],
            vec!["cannot use", "tls.crt: expected a PEM private key"],
        ),
        (["--config".into(), config.display().to_string()], vec!["config.yaml", "imagePolicy", "line 2"]),
        (["--listen".into(), taken.clone()], vec!["cannot listen on", &taken]),
    ] {
        let output = serve(&certificate).args(&arguments).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {log}");
        assert!(expected.iter().all(|text| log.contains(text)), "{arguments:?}: {log}");
    }
}
