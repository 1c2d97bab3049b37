//! Reviews over TLS, with the server on one core and the client on the other: the server's CPU time per review, the client's
//! waiting time, and the server's memory.

use std::{
    path::Path,
    process::{Command, id},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use kit::desktop::{self, Size};

use crate::{
    client::request,
    servers::{self, Kind, Server, Servers},
    table::{Table, Target, quantile},
};

pub(crate) const CLIENT_CORE: &str = "0";
pub(crate) const SERVER_CORE: &str = "1";

/// The rounds are interleaved, so that other load on the machine affects all servers alike.
const ROUNDS: usize = 7;

/// How long one server gets requests in one round.
const MEASUREMENT: Duration = Duration::from_millis(400);

/// A pattern of requests.
struct Pattern {
    name: &'static str,
    size: Size,
    /// Number of concurrent clients. Each has its own connection.
    clients: usize,
    /// Whether every review has a new connection.
    reconnect: bool,
}

const PATTERNS: [Pattern; 6] = [
    Pattern { name: "small pod, persistent connection", size: Size::Small, clients: 1, reconnect: false },
    Pattern { name: "medium pod, persistent connection", size: Size::Medium, clients: 1, reconnect: false },
    Pattern { name: "large pod, persistent connection", size: Size::Large, clients: 1, reconnect: false },
    Pattern {
        name: "medium pod, 8 persistent connections",
        size: Size::Medium,
        clients: 8,
        reconnect: false,
    },
    Pattern { name: "medium pod, new connections", size: Size::Medium, clients: 1, reconnect: true },
    Pattern {
        name: "large pod, 32 persistent connections",
        size: Size::Large,
        clients: 32,
        reconnect: false,
    },
];

/// The index in [`PATTERNS`] of the pattern that has targets.
const WITH_TARGETS: usize = 3;

/// The result of one measurement, or the median over rounds, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Times {
    cpu: f64,
    p50: f64,
    p99: f64,
}

pub(crate) fn measure() -> Result<Vec<Target>> {
    servers::build()?;
    pin(CLIENT_CORE)?;
    let servers = Servers::start(&["taskset", "--cpu-list", SERVER_CORE], Path::new("/nonexistent"))?;
    let idle = each(&servers, |server| server.resident("VmRSS"))?;
    let mut times = vec![vec![vec![]; PATTERNS.len()]; servers.all.len()];
    for _ in 0..ROUNDS {
        for (pattern, server) in (0..PATTERNS.len())
            .flat_map(|pattern| (0..servers.all.len()).map(move |server| (pattern, server)))
        {
            times[server][pattern].push(measure_one(&servers.all[server], &PATTERNS[pattern])?);
        }
    }
    let loaded = each(&servers, |server| server.resident("VmRSS"))?;
    let peak = each(&servers, |server| server.resident("VmHWM"))?;
    let times: Vec<Vec<Times>> =
        times.iter().map(|patterns| patterns.iter().map(|rounds| median(rounds)).collect()).collect();
    let mut table = Table::new("over TLS, one core", Kind::ALL.map(Kind::as_str));
    for (index, pattern) in PATTERNS.iter().enumerate() {
        let figures =
            |figure: fn(&Times) -> f64| times.iter().map(move |patterns| Some(figure(&patterns[index])));
        table.row(&format!("{}: CPU us", pattern.name), figures(|times| times.cpu));
        table.row(&format!("{}: p50 us", pattern.name), figures(|times| times.p50));
        table.row(&format!("{}: p99 us", pattern.name), figures(|times| times.p99));
    }
    for (name, sizes) in [("idle", &idle), ("after the load", &loaded), ("peak", &peak)] {
        table.row(&format!("resident MiB, {name}"), sizes.iter().copied().map(Some));
    }
    table.print();
    let [product, kube_rs, controller_runtime] =
        [0, 1, 2].map(|server: usize| times[server][WITH_TARGETS].cpu);
    let target = |what: &str, max, measured| Target {
        what: format!("{}: {what}", PATTERNS[WITH_TARGETS].name),
        max,
        measured,
    };
    Ok(vec![
        target("CPU us", 25.0, product),
        target("CPU, ratio to the kube-rs webhook", 1.0 / 5.0, product / kube_rs),
        target("CPU, ratio to the controller-runtime webhook", 1.0 / 25.0, product / controller_runtime),
        Target { what: "peak resident MiB".to_owned(), max: 12.0, measured: peak[0] },
    ])
}

/// Measures one server with one pattern.
fn measure_one(server: &Server, pattern: &Pattern) -> Result<Times> {
    let request = request(&desktop::review(pattern.size));
    let before = server.cpu_us()?;
    let waits: Vec<Result<Vec<f64>>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..pattern.clients)
            .map(|_| scope.spawn(|| waits(server, &request, pattern.reconnect)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| Err(anyhow!("a client has panicked"))))
            .collect()
    });
    let cpu = server.cpu_us()? - before;
    let mut waits = waits.into_iter().collect::<Result<Vec<_>>>()?.concat();
    ensure!(!waits.is_empty(), "no response from {} in {MEASUREMENT:?}", server.kind.as_str());
    Ok(Times {
        cpu: cpu / waits.len() as f64,
        p50: quantile(&mut waits, 0.5),
        p99: quantile(&mut waits, 0.99),
    })
}

fn waits(server: &Server, request: &[u8], reconnect: bool) -> Result<Vec<f64>> {
    let (mut waits, began) = (vec![], Instant::now());
    let mut connection = server.client.connect()?;
    if !reconnect {
        connection.exchange(request)?;
    }
    while began.elapsed() < MEASUREMENT {
        let sent = Instant::now();
        if reconnect {
            connection = server.client.connect()?;
        }
        connection.exchange(request)?;
        waits.push(sent.elapsed().as_nanos() as f64 / 1000.0);
    }
    Ok(waits)
}

fn median(rounds: &[Times]) -> Times {
    let of = |figure: fn(&Times) -> f64| quantile(&mut rounds.iter().map(figure).collect::<Vec<_>>(), 0.5);
    Times { cpu: of(|times| times.cpu), p50: of(|times| times.p50), p99: of(|times| times.p99) }
}

fn each(servers: &Servers, figure: impl Fn(&Server) -> Result<f64>) -> Result<Vec<f64>> {
    servers.all.iter().map(figure).collect()
}

/// Pins this process and its future threads to one core.
pub(crate) fn pin(core: &str) -> Result<()> {
    let output = Command::new("taskset")
        .args(["--cpu-list", "--pid", core, &id().to_string()])
        .output()
        .context("running taskset (Debian: apt-get install util-linux)")?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
