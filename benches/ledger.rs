//! The cost of the ledger for 10,000 and 50,000 session pods, compared with a reflector of kube-rs and with kube-state-metrics. All watch the
//! same API server, which generates the pods.

mod api_server;
pub(crate) mod contenders;
mod pods;

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::WatchEvent;
use serde::de::IgnoredAny;

use crate::table::{Table, Target, quantile};
use api_server::FakeApiServer;
use contenders::{Contender, cpu_seconds, start, wait_until_idle};
use pods::PodTexts;

/// Numbers of session pods.
const SESSIONS: [usize; 2] = [10_000, 50_000];

/// Seconds of an average session. So many sessions begin and end during this time as exist.
const LENGTH: f64 = 4.0 * 3600.0;

/// Time during which sessions begin and end at this rate.
const STEADY: Duration = Duration::from_secs(60);

/// Sessions that begin or end at once, for the time of an event.
const BURST: usize = 1000;

/// Rounds of the measurement in process.
const ROUNDS: usize = 300;

/// The figures with one number of sessions; a value for each program.
struct Figures {
    listed_mib: Vec<f64>,
    peak_mib: Vec<f64>,
    list_us: Vec<f64>,
    event_us: Vec<f64>,
    steady_mib: Vec<f64>,
    written_per_second: f64,
}

pub(crate) fn measure() -> Result<Vec<Target>> {
    contenders::build()?;
    decoding()?;
    let mut targets = vec![];
    for sessions in SESSIONS {
        let figures = figures(sessions)?;
        print(sessions, &figures);
        let [ours, reflector, metrics] = figures.steady_mib.as_slice() else { continue };
        let target = |what: &str, max, measured| Target {
            what: format!("ledger, {sessions} sessions, {what}"),
            max,
            measured,
        };
        targets.push(target("resident, ratio to a kube-rs reflector", 0.25, ours / reflector));
        targets.push(target("resident, ratio to kube-state-metrics", 1.0, ours / metrics));
    }
    Ok(targets)
}

/// The least work for an event, without a connection: typed decoding and a scan.
fn decoding() -> Result<()> {
    let events = PodTexts::new()?.events(0, false, 1);
    let line = events.last().context("no event")?;
    let mut times = [vec![], vec![]];
    for _ in 0..ROUNDS {
        times[0]
            .push(microseconds(|| drop(black_box(serde_json::from_str::<WatchEvent<Pod>>(black_box(line))))));
        times[1].push(microseconds(|| drop(black_box(serde_json::from_str::<IgnoredAny>(black_box(line))))));
    }
    let mut table = Table::new("in process, us per event", ["a typed pod", "a minimal scan"]);
    let medians = times.map(|mut times| Some(quantile(&mut times, 0.5)));
    table.row(&format!("{} bytes: median", line.len()), medians);
    table.print();
    Ok(())
}

fn microseconds(call: impl Fn()) -> f64 {
    const CALLS: u32 = 20;
    let start = Instant::now();
    (0..CALLS).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
}

fn figures(sessions: usize) -> Result<Figures> {
    let api_server = FakeApiServer::start(sessions)?;
    let contenders = start(api_server.address)?;
    wait_until_idle(&contenders)?;
    let listed_mib = memory(&contenders, "VmRSS")?;
    let peak_mib = memory(&contenders, "VmHWM")?;
    let list_us =
        cpu_seconds(&contenders)?.into_iter().map(|seconds| seconds * 1e6 / sessions as f64).collect();
    let event_us = burst(&api_server, &contenders, sessions)?;
    let written_per_second = steady(&api_server, sessions);
    wait_until_idle(&contenders)?;
    let steady_mib = memory(&contenders, "VmRSS")?;
    Ok(Figures { listed_mib, peak_mib, list_us, event_us, steady_mib, written_per_second })
}

/// Sessions begin and end at once. Returns the CPU time of each program per event.
fn burst(api_server: &FakeApiServer, contenders: &[Contender], sessions: usize) -> Result<Vec<f64>> {
    let before = cpu_seconds(contenders)?;
    for number in sessions..sessions + BURST {
        api_server.send(number, false);
        api_server.send(number, true);
    }
    wait_until_idle(contenders)?;
    let events = (BURST * api_server.texts().events_of_life()) as f64;
    let used = cpu_seconds(contenders)?.into_iter().zip(before);
    Ok(used.map(|(after, before)| (after - before) * 1e6 / events).collect())
}

/// Sessions begin and end as often as they do if they last for four hours. Returns the bytes per second that are stored.
fn steady(api_server: &FakeApiServer, sessions: usize) -> f64 {
    let pause = Duration::from_secs_f64(LENGTH / sessions as f64);
    let (start, written) = (Instant::now(), api_server.written());
    for number in 0.. {
        if start.elapsed() >= STEADY {
            break;
        }
        api_server.send(sessions + BURST + number, false);
        api_server.send(number, true);
        thread::sleep(pause);
    }
    (api_server.written() - written) as f64 / start.elapsed().as_secs_f64()
}

fn memory(contenders: &[Contender], name: &str) -> Result<Vec<f64>> {
    contenders.iter().map(|contender| contender.memory(name)).collect()
}

fn print(sessions: usize, figures: &Figures) {
    let names = ["vdi-metrics", "kube-rs reflector", "kube-state-metrics"];
    let mut table = Table::new(&format!("{sessions} session pods"), names);
    for (name, values) in [
        ("resident after the list, MiB", &figures.listed_mib),
        ("peak until then, MiB", &figures.peak_mib),
        ("resident at the end, MiB", &figures.steady_mib),
        ("CPU time of the list, us per pod", &figures.list_us),
        ("CPU time of an event, us", &figures.event_us),
    ] {
        table.row(name, values.iter().copied().map(Some));
    }
    let per_second: Vec<_> = figures.event_us.iter().map(|us| Some(1e6 / us)).collect();
    table.row("events per second of CPU time", per_second);
    table.row("bytes per second that the leader stores", [Some(figures.written_per_second), None, None]);
    table.print();
}
