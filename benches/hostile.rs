//! Reviews while strangers attack the webhook: the waiting time, lost reviews and the server's memory. The server has one core, on
//! which its handshakes and reviews compete, and the clients have the other.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result};
use kit::{
    desktop::{self, Size},
    exposition::Exposition,
    http,
    process::Process,
    tls::{Certificate, ClientOptions, TlsStream},
};

use crate::{
    client::{Client, Connection, request},
    over_tls::{CLIENT_CORE, SERVER_CORE, pin},
    servers::product,
    table::{Table, Target, quantile},
};

/// Time of each attack.
const ATTACK: Duration = Duration::from_secs(6);

/// Pause between two reviews of the well-behaved client.
const PAUSE: Duration = Duration::from_millis(2);

/// One review in this many has a new connection.
const RECONNECT: usize = 10;

/// Addresses of strangers.
const STRANGERS: u8 = 20;

/// What strangers do until they are stopped.
type Attack = fn(&Victim, &AtomicBool);

const ATTACKS: &[(&str, &[Attack])] = &[
    ("quiet", &[]),
    ("handshakes", &[handshakes, handshakes]),
    ("slow headers", &[slow_headers]),
    ("slow bodies", &[slow_bodies]),
    ("5,000 idle connections", &[idle]),
    ("garbage", &[garbage, garbage]),
    ("all at once", &[handshakes, slow_headers, slow_bodies, idle, garbage]),
    ("quiet again", &[]),
];

/// The server under attack.
struct Victim {
    process: Process,
    certificate: Certificate,
    webhook: SocketAddr,
    metrics: SocketAddr,
}

/// The well-behaved client's results: milliseconds.
#[derive(Default)]
struct Results {
    open: Vec<f64>,
    new: Vec<f64>,
    lost: f64,
    memory: f64,
    /// Connections that the server ended or refused.
    ended: f64,
}

pub(crate) fn measure() -> Result<Vec<Target>> {
    pin(CLIENT_CORE)?;
    raise_limit_of_files();
    let victim = Victim::start()?;
    let mut results = vec![];
    for (_, attacks) in ATTACKS {
        results.push(attacked(&victim, attacks)?);
    }
    print(&mut results);
    Ok(targets(&mut results))
}

fn attacked(victim: &Victim, attacks: &[Attack]) -> Result<Results> {
    let (stop, before) = (AtomicBool::new(false), victim.ended()?);
    let mut results = thread::scope(|scope| {
        for attack in attacks {
            scope.spawn(|| {
                // The clients share a core. An attack must not delay the measuring client.
                let _ = rustix::process::nice(15);
                attack(victim, &stop);
            });
        }
        thread::sleep(Duration::from_secs(1));
        let results = well_behaved(victim);
        stop.store(true, Relaxed);
        results
    })?;
    results.ended = victim.ended()? - before;
    results.memory = victim.peak()?;
    Ok(results)
}

/// Sends reviews as the API server does.
fn well_behaved(victim: &Victim) -> Result<Results> {
    let (mut results, review) = (Results::default(), request(&desktop::review(Size::Medium)));
    let client = Client::new(&victim.certificate, victim.webhook)?;
    let mut open: Option<Connection> = None;
    let began = Instant::now();
    for number in 0.. {
        if began.elapsed() > ATTACK {
            break;
        }
        thread::sleep(PAUSE);
        let sent = Instant::now();
        let reconnects = number % RECONNECT == 0;
        let connection = match open.take().filter(|_| !reconnects) {
            Some(connection) => Ok(connection),
            None => client.connect(),
        };
        let answered = connection.and_then(|mut connection| connection.exchange(&review).map(|_| connection));
        let milliseconds = sent.elapsed().as_secs_f64() * 1000.0;
        if reconnects {
            results.new.push(milliseconds)
        } else {
            results.open.push(milliseconds)
        }
        if answered.is_err() || milliseconds > 2000.0 {
            results.lost += 1.0;
        }
        open = answered.ok();
    }
    Ok(results)
}

fn print(results: &mut [Results]) {
    let mut table = Table::new("reviews under attack", ATTACKS.iter().map(|(name, _)| *name));
    let mut row = |name: &str, figure: &mut dyn FnMut(&mut Results) -> f64| {
        table.row(name, results.iter_mut().map(|results| Some(figure(results))).collect::<Vec<_>>());
    };
    row("open connection: p50, ms", &mut |results| quantile(&mut results.open, 0.5));
    row("open connection: p99, ms", &mut |results| quantile(&mut results.open, 0.99));
    row("new connection: p50, ms", &mut |results| quantile(&mut results.new, 0.5));
    row("new connection: p99, ms", &mut |results| quantile(&mut results.new, 0.99));
    row("reviews", &mut |results| (results.open.len() + results.new.len()) as f64);
    row("lost reviews", &mut |results| results.lost);
    row("ended connections", &mut |results| results.ended);
    row("peak memory so far, MiB", &mut |results| results.memory);
    table.print();
}

fn targets(results: &mut [Results]) -> Vec<Target> {
    let mut ratio = |what: &str, of: fn(&mut Results) -> &mut Vec<f64>| {
        let p99 = results.iter_mut().map(|results| quantile(of(results), 0.99)).collect::<Vec<_>>();
        let worst = p99.iter().copied().fold(0.0, f64::max);
        Target {
            what: format!("p99 under attack / quiet, {what} connection"),
            max: 3.0,
            measured: worst / p99[0],
        }
    };
    let open = ratio("open", |results| &mut results.open);
    let new = ratio("new", |results| &mut results.new);
    let lost = results.iter().map(|results| results.lost).sum();
    let memory = results.iter().map(|results| results.memory).fold(0.0, f64::max);
    vec![
        open,
        new,
        Target { what: "lost reviews".to_owned(), max: 0.0, measured: lost },
        Target { what: "peak memory under attack, MiB".to_owned(), max: 96.0, measured: memory },
    ]
}

// === attacks ===

fn stranger(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 2, (number % usize::from(STRANGERS)) as u8 + 1)
}

/// Replays a ClientHello, waits for the server's answer, and closes: the server has signed, and the stranger has computed nothing.
fn handshakes(victim: &Victim, stop: &AtomicBool) {
    let hello = victim.client_hello();
    for number in 0.. {
        if stop.load(Relaxed) {
            return;
        }
        let Ok(mut stream) = victim.connect(number) else { continue };
        if stream.write_all(&hello).is_ok() {
            let _ = stream.read(&mut [0; 4096]);
        }
    }
}

/// Sends a byte of the headers every half second on 200 connections.
fn slow_headers(victim: &Victim, stop: &AtomicBool) {
    slowly(victim, stop, "POST /mutate HTTP/1.1\r\nhost: x\r\nx-slow: ");
}

/// Sends a byte of a body every half second on 200 connections. Their bodies would need six times the memory for bodies.
fn slow_bodies(victim: &Victim, stop: &AtomicBool) {
    let head = "POST /mutate?timeout=30s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 262144\r\n\r\n";
    slowly(victim, stop, head);
}

fn slowly(victim: &Victim, stop: &AtomicBool, head: &str) {
    let mut streams: Vec<Option<TlsStream>> = (0..200).map(|_| None).collect();
    while !stop.load(Relaxed) {
        for (number, stream) in streams.iter_mut().enumerate() {
            let sent = stream.as_mut().is_some_and(|stream| stream.write_all(b" ").is_ok());
            if !sent {
                *stream = victim.connect_tls(number).ok();
                let _ = stream.as_mut().map(|stream| stream.write_all(head.as_bytes()));
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// Opens 5,000 connections and keeps them. Half of them complete the handshake.
fn idle(victim: &Victim, stop: &AtomicBool) {
    let (mut plain, mut with_tls) = (vec![], vec![]);
    for number in 0..5000 {
        if stop.load(Relaxed) {
            return;
        }
        match number % 2 {
            0 => plain.extend(victim.connect(number)),
            _ => with_tls.extend(victim.connect_tls(number)),
        }
    }
    while !stop.load(Relaxed) {
        thread::sleep(Duration::from_millis(10));
    }
}

/// Sends 4 KiB that are not TLS.
fn garbage(victim: &Victim, stop: &AtomicBool) {
    for number in 0.. {
        if stop.load(Relaxed) {
            return;
        }
        let Ok(mut stream) = victim.connect(number) else { continue };
        let _ = stream.write_all(&[number as u8; 4096]);
        let _ = stream.read(&mut [0; 64]);
    }
}

// === impl Victim ===

impl Victim {
    fn start() -> Result<Self> {
        let certificate = Certificate::for_loopback()?;
        let mut command = Command::new("taskset");
        command.env_clear().args(["--cpu-list", SERVER_CORE]).arg(product()).arg("serve");
        command.arg("--tls-cert").arg(certificate.cert()).arg("--tls-key").arg(certificate.key());
        command.args(["--metrics-authentication", "none"]);
        for listen in ["--listen", "--metrics-listen", "--health-listen"] {
            command.args([listen, "127.0.0.1:0"]);
        }
        let process = Process::spawn(&mut command);
        let address = |server: &str| -> Result<SocketAddr> {
            let line = process.logged(&format!("server=\"{server}\""));
            Ok(line.split("address=").nth(1).context("no address")?.trim().parse()?)
        };
        let (webhook, metrics) = (address("webhook")?, address("metrics")?);
        Ok(Self { process, certificate, webhook, metrics })
    }

    fn connect(&self, number: usize) -> std::io::Result<TcpStream> {
        http::connect_from(stranger(number), self.webhook)
    }

    /// Connects and completes the handshake.
    fn connect_tls(&self, number: usize) -> std::io::Result<TlsStream> {
        let options = ClientOptions { source: stranger(number), ..ClientOptions::default() };
        let mut stream = self.certificate.connect_as(self.webhook, options)?;
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(stream)
    }

    fn client_hello(&self) -> Vec<u8> {
        let mut hello = vec![];
        let options = ClientOptions { source: stranger(0), ..ClientOptions::default() };
        if let Ok(mut stream) = self.certificate.connect_as(self.webhook, options) {
            let _ = stream.conn.write_tls(&mut hello);
        }
        hello
    }

    /// Number of connections that have ended.
    fn ended(&self) -> Result<f64> {
        let page = self.certificate.get(self.metrics, "/metrics")?.body;
        let metrics = Exposition::parse(&page).map_err(Error::msg)?;
        let ended = metrics.series("vdi_metrics_https_connections_closed_total");
        Ok(ended.filter(|series| series.labels["listener"] == "webhook").map(|series| series.value).sum())
    }

    fn peak(&self) -> Result<f64> {
        let path = Path::new("/proc").join(self.process.id().to_string()).join("status");
        let status = std::fs::read_to_string(path)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }
}

/// The strangers have thousands of sockets in this process.
fn raise_limit_of_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it fails, connections fail, and the table shows fewer of them.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
