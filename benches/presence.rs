//! What presence adds to the released sidecar: CPU time and memory. The sidecars run in one network namespace, with the same viewers.

use std::{
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kit::{
    network::{POD, PodNetwork},
    process::eventually,
};
use vdi_metrics::contract::env;

use crate::{
    sidecar::{Sidecar, start_with},
    table::{Table, Target},
};

/// Seconds between two polls. At the shipped interval the cost would be lost in the noise. The caches of the CPU are warmer here.
const INTERVAL: f64 = 0.1;
/// The shipped interval.
const SHIPPED: f64 = 15.0;
const DURATION: Duration = Duration::from_secs(60);
const PORT: u16 = 6901;
const VIEWERS: usize = 3;

/// The figures of one sidecar.
#[derive(Clone, Copy)]
struct Figures {
    /// CPU time of one poll of the sockets and of the GPU, with all other work of one interval.
    poll_us: f64,
    resident_mib: f64,
    anonymous_mib: f64,
}

/// Connections between the namespaces.
struct Viewers {
    _server: TcpListener,
    _ends: Vec<(TcpStream, TcpStream)>,
}

/// Measures; nothing without root, because a sidecar outside a network namespace reads the connections of this machine.
pub(crate) fn measure() -> Result<Vec<Target>> {
    let Some(network) = PodNetwork::create() else { return Ok(vec![]) };
    let alone = figures(&network)?;
    let _viewers = Viewers::connect(&network)?;
    let watched = figures(&network)?;
    print(&[alone, watched]);
    let target = |what: &str, max, measured| Target { what: what.to_owned(), max, measured };
    let cpu = "presence, added 0.001 % of a core with 3 viewers, polls every 15 s";
    let memory = watched[1].resident_mib - watched[0].resident_mib;
    Ok(vec![
        target(cpu, 20.0, added_share(watched)),
        target("presence, added resident memory with 3 viewers, MiB", 0.2, memory),
    ])
}

fn print(figures: &[[Figures; 2]; 2]) {
    let columns = ["off", "no viewer", "off, 3 viewers", "3 viewers"];
    let mut table = Table::new("presence in the sidecar", columns);
    for (name, figure) in [
        ("CPU time of a poll every 0.1 s, us", (|figures| figures.poll_us) as fn(&Figures) -> f64),
        ("resident, MiB", |figures| figures.resident_mib),
        ("of that anonymous, MiB", |figures| figures.anonymous_mib),
    ] {
        table.row(name, figures.as_flattened().iter().map(|figures| Some(figure(figures))));
    }
    let shares = figures.map(|pair| [None, Some(added_share(pair))]);
    table.row("added 0.001 % of a core, polls every 15 s", shares.as_flattened().iter().copied());
    table.print();
}

/// Thousandths of a percent of a core that presence adds at the shipped interval.
fn added_share([off, on]: [Figures; 2]) -> f64 {
    (on.poll_us - off.poll_us) / SHIPPED / 1e6 * 100.0 * 1e3
}

/// The figures without and with presence, of two sidecars that run at the same time.
fn figures(network: &PodNetwork) -> Result<[Figures; 2]> {
    let mut sidecars = vec![];
    for presence in ["off", "auto"] {
        let interval = INTERVAL.to_string();
        let settings = [(env::PRESENCE, presence), (env::INTERVAL, interval.as_str())];
        let sidecar = network.pod.inside(|| start_with(1, &settings))?;
        // The start and the first polls are not part of the measurement.
        eventually("the GPU", || {
            let seen = network.pod.inside(|| sidecar.program.scrape()).ok()?;
            (seen.series("vdi_session_gpu_info").count() == 1).then_some(())
        });
        sidecars.push(sidecar);
    }
    let usage = || sidecars.iter().map(|sidecar| sidecar.program.cpu_us()).collect::<Result<Vec<_>>>();
    let (began, before) = (Instant::now(), usage()?);
    thread::sleep(DURATION);
    let polls = began.elapsed().as_secs_f64() / INTERVAL;
    let used = usage()?.into_iter().zip(before).map(|(after, before)| (after - before) / polls);
    let figures = sidecars.iter().zip(used).map(|(sidecar, poll_us)| figures_of(sidecar, poll_us));
    let figures = figures.collect::<Result<Vec<_>>>()?;
    figures.try_into().ok().context("the number of figures and of sidecars differs")
}

fn figures_of(sidecar: &Sidecar, poll_us: f64) -> Result<Figures> {
    Ok(Figures {
        poll_us,
        resident_mib: sidecar.program.memory("VmRSS:")?,
        anonymous_mib: sidecar.program.memory("RssAnon:")?,
    })
}

// === impl Viewers ===

impl Viewers {
    fn connect(network: &PodNetwork) -> Result<Self> {
        let server = network.pod.inside(|| TcpListener::bind((POD[0], PORT)))?;
        let connect = |_| {
            let client = network.outside.inside(|| TcpStream::connect((POD[0], PORT)))?;
            Ok((server.accept()?.0, client))
        };
        let ends = (0..VIEWERS).map(connect).collect::<Result<_>>()?;
        Ok(Self { _server: server, _ends: ends })
    }
}
