//! Reviews over TLS, the server on one core and the client on the other: what each costs the server, how long the
//! client waits, and what the server holds in memory.

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
    table::{Aim, Table, quantile},
};

const CLIENT_CORE: &str = "0";
const SERVER_CORE: &str = "1";

/// Interleaved: whatever else runs on the machine meets all servers alike.
const ROUNDS: usize = 7;

/// How long one server is asked in one round.
const SPELL: Duration = Duration::from_millis(400);

/// A way to ask.
struct Way {
    name: &'static str,
    size: Size,
    /// As many clients at once, each over a connection of its own.
    clients: usize,
    /// Whether every review has a new connection.
    anew: bool,
}

const WAYS: [Way; 6] = [
    Way { name: "small pod, kept connection", size: Size::Small, clients: 1, anew: false },
    Way { name: "medium pod, kept connection", size: Size::Medium, clients: 1, anew: false },
    Way { name: "large pod, kept connection", size: Size::Large, clients: 1, anew: false },
    Way { name: "medium pod, 8 kept connections", size: Size::Medium, clients: 8, anew: false },
    Way { name: "medium pod, new connections", size: Size::Medium, clients: 1, anew: true },
    Way { name: "large pod, 32 kept connections", size: Size::Large, clients: 32, anew: false },
];

/// Indices into [`WAYS`] and [`Kind::ALL`] of what the aims speak of.
const AIMED: usize = 3;

/// What one spell, or the median over rounds, showed; microseconds.
#[derive(Clone, Copy, Debug)]
struct Spell {
    processor: f64,
    p50: f64,
    p99: f64,
}

pub(crate) fn measure() -> Result<Vec<Aim>> {
    servers::build()?;
    pin(CLIENT_CORE)?;
    let servers = Servers::start(&["taskset", "--cpu-list", SERVER_CORE], Path::new("/nonexistent"))?;
    let idle = each(&servers, |server| server.resident("VmRSS"))?;
    let mut spells = vec![vec![vec![]; WAYS.len()]; servers.all.len()];
    for _ in 0..ROUNDS {
        for (way, server) in
            (0..WAYS.len()).flat_map(|way| (0..servers.all.len()).map(move |server| (way, server)))
        {
            spells[server][way].push(ask(&servers.all[server], &WAYS[way])?);
        }
    }
    let loaded = each(&servers, |server| server.resident("VmRSS"))?;
    let peak = each(&servers, |server| server.resident("VmHWM"))?;
    let spells: Vec<Vec<Spell>> =
        spells.iter().map(|ways| ways.iter().map(|rounds| median(rounds)).collect()).collect();
    let mut table = Table::new("over TLS, one core", Kind::ALL.map(Kind::as_str));
    for (index, way) in WAYS.iter().enumerate() {
        let of = |what: fn(&Spell) -> f64| spells.iter().map(move |ways| Some(what(&ways[index])));
        table.row(&format!("{}: CPU us", way.name), of(|spell| spell.processor));
        table.row(&format!("{}: p50 us", way.name), of(|spell| spell.p50));
        table.row(&format!("{}: p99 us", way.name), of(|spell| spell.p99));
    }
    for (name, sizes) in [("idle", &idle), ("after the load", &loaded), ("peak", &peak)] {
        table.row(&format!("resident MiB, {name}"), sizes.iter().copied().map(Some));
    }
    table.print();
    let [ours, kube_rs, controller_runtime] = [0, 1, 2].map(|server: usize| spells[server][AIMED].processor);
    let aim =
        |what: &str, at_most, found| Aim { what: format!("{}: {what}", WAYS[AIMED].name), at_most, found };
    Ok(vec![
        aim("CPU us", 25.0, ours),
        aim("CPU, times the kube-rs webhook", 1.0 / 5.0, ours / kube_rs),
        aim("CPU, times the controller-runtime webhook", 1.0 / 25.0, ours / controller_runtime),
        Aim { what: "resident MiB at the peak".to_owned(), at_most: 12.0, found: peak[0] },
    ])
}

/// Asks one server for a spell.
fn ask(server: &Server, way: &Way) -> Result<Spell> {
    let request = request(&desktop::review(way.size));
    let before = server.processor()?;
    let waits: Vec<Result<Vec<f64>>> = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..way.clients).map(|_| scope.spawn(|| waits(server, &request, way.anew))).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| Err(anyhow!("a client has panicked"))))
            .collect()
    });
    let processor = server.processor()? - before;
    let mut waits = waits.into_iter().collect::<Result<Vec<_>>>()?.concat();
    ensure!(!waits.is_empty(), "{} answered nothing in {SPELL:?}", server.kind.as_str());
    Ok(Spell {
        processor: processor / waits.len() as f64,
        p50: quantile(&mut waits, 0.5),
        p99: quantile(&mut waits, 0.99),
    })
}

fn waits(server: &Server, request: &[u8], anew: bool) -> Result<Vec<f64>> {
    let (mut waits, began) = (vec![], Instant::now());
    let mut kept = server.client.connect()?;
    if !anew {
        kept.exchange(request)?;
    }
    while began.elapsed() < SPELL {
        let asked = Instant::now();
        if anew {
            kept = server.client.connect()?;
        }
        kept.exchange(request)?;
        waits.push(asked.elapsed().as_nanos() as f64 / 1000.0);
    }
    Ok(waits)
}

fn median(rounds: &[Spell]) -> Spell {
    let of = |what: fn(&Spell) -> f64| quantile(&mut rounds.iter().map(what).collect::<Vec<_>>(), 0.5);
    Spell { processor: of(|spell| spell.processor), p50: of(|spell| spell.p50), p99: of(|spell| spell.p99) }
}

fn each(servers: &Servers, what: impl Fn(&Server) -> Result<f64>) -> Result<Vec<f64>> {
    servers.all.iter().map(what).collect()
}

/// Keeps this process and its threads to come on one core.
fn pin(core: &str) -> Result<()> {
    let output = Command::new("taskset")
        .args(["--cpu-list", "--pid", core, &id().to_string()])
        .output()
        .context("running taskset (Debian: apt-get install util-linux)")?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
