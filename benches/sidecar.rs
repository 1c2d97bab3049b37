//! The cost of the released sidecar: memory, CPU time, driver calls, time to the first response. The driver is the fake one. Its
//! own work is included in every figure, and that of the real library in none.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fake_nvml::Scenario;
use kit::{http, process::eventually, tempfile};
use vdi_metrics::contract::{METRICS_PATH, env};

use crate::{
    presence,
    program::Program,
    table::{Table, Target, quantile},
};

/// The interval of polls and of scrapes, as shipped.
const INTERVAL: Duration = Duration::from_secs(15);
/// Duration of the measurement: polls, scrapes and waits for XID events.
const INTERVALS: u32 = 8;
const SCRAPES: u32 = 500;
const STARTS: usize = 20;

pub(crate) struct Sidecar {
    pub(crate) program: Program,
    _folder: tempfile::TempDir,
}

/// The figures of one sidecar.
struct Figures {
    resident_mib: f64,
    anonymous_mib: f64,
    core_percent: f64,
    scrape_us: f64,
    series: f64,
    calls_per_minute: f64,
}

pub(crate) fn measure() -> Result<Vec<Target>> {
    let binary =
        fs::metadata(program()).with_context(|| format!("{}: run `make images`", program().display()))?;
    let [one, eight] = figures([1, 8])?;
    let mut table = Table::new("the sidecar with a fake driver", ["1 GPU", "8 GPUs"]);
    for (name, figure) in [
        ("resident, MiB", (|figures| figures.resident_mib) as fn(&Figures) -> f64),
        ("of that anonymous, MiB", |figures| figures.anonymous_mib),
        ("share of a core, %", |figures| figures.core_percent),
        ("CPU time of a scrape, us", |figures| figures.scrape_us),
        ("series", |figures| figures.series),
        ("driver calls per minute", |figures| figures.calls_per_minute),
    ] {
        table.row(name, [Some(figure(&one)), Some(figure(&eight))]);
    }
    table.print();
    let target = |what: &str, max, measured| Target { what: what.to_owned(), max, measured };
    let mut targets = presence::measure()?;
    targets.extend([
        target("sidecar, binary, MB", 1.5, binary.len() as f64 / 1e6),
        target("sidecar, resident with one GPU, MiB", 4.0, one.resident_mib),
        target("sidecar, resident with eight GPUs, MiB", 6.0, eight.resident_mib),
        target("sidecar, % of a core, polls and scrapes every 15 s", 0.1, one.core_percent),
        target("sidecar, ms from the start to the first response to a scrape, median", 20.0, start_ms()?),
    ]);
    Ok(targets)
}

pub(crate) fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sidecar/vdi-metrics-sidecar")
}

/// A scenario with this number of GPUs, each with every value.
pub(crate) fn scenario(gpus: usize) -> Result<Scenario> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios/everything_supported.json");
    let mut scenario = Scenario::read(&path)?;
    let card = scenario.devices.pop().context("no device")?;
    for number in 0..gpus {
        let uuid = Some(format!("GPU-{number:08x}-0c3a-4f6e-9b7d-21a4c8e6f035"));
        scenario.devices.push(fake_nvml::Device { uuid, ..card.clone() });
    }
    Ok(scenario)
}

fn start(gpus: usize) -> Result<Sidecar> {
    start_with(gpus, &[(env::INTERVAL, &INTERVAL.as_secs().to_string())])
}

/// Starts a sidecar with these settings.
pub(crate) fn start_with(gpus: usize, settings: &[(&str, &str)]) -> Result<Sidecar> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("scenario.json");
    scenario(gpus)?.write(&path)?;
    let mut command = Command::new(program());
    command
        .env_clear()
        .env(env::LISTEN, "127.0.0.1:0")
        .env(env::GPU_ACCESS, "claims")
        .env(env::NVML_LIBRARY, fake_nvml::library()?)
        .env(fake_nvml::SCENARIO, &path)
        .envs(settings.iter().copied());
    Ok(Sidecar { program: Program::start(&mut command), _folder: folder })
}

/// The figures of sidecars with these numbers of GPUs, which run at the same time.
fn figures<const N: usize>(gpus: [usize; N]) -> Result<[Figures; N]> {
    let mut sidecars = vec![];
    for gpus in gpus {
        let sidecar = start(gpus)?;
        eventually("the GPUs", || {
            (sidecar.program.scrape().ok()?.series("vdi_session_gpu_info").count() == gpus).then_some(())
        });
        sidecars.push((calls(&sidecar.program)?, sidecar.program.cpu_us()?, sidecar));
    }
    for _ in 0..INTERVALS {
        std::thread::sleep(INTERVAL);
        for (_, _, sidecar) in &sidecars {
            sidecar.program.scrape()?;
        }
    }
    let figures: Vec<_> = sidecars
        .into_iter()
        .map(|(calls, cpu, sidecar)| figures_of(calls, cpu, &sidecar.program))
        .collect::<Result<_>>()?;
    figures.try_into().map_err(|_| anyhow::anyhow!("the number of figures and of sidecars differs"))
}

fn figures_of(calls_before: (f64, f64), cpu: f64, sidecar: &Program) -> Result<Figures> {
    let time = INTERVAL * INTERVALS;
    let core_percent = (sidecar.cpu_us()? - cpu) / time.as_micros() as f64 * 100.0;
    let exposition = sidecar.scrape()?;
    // The number of calls belongs to the time of the poll, not to that of the scrape.
    let (total, at) = calls(sidecar)?;
    let calls_per_minute = (total - calls_before.0) / (at - calls_before.1) * 60.0;
    let before = sidecar.cpu_us()?;
    for _ in 0..SCRAPES {
        ensure!(http::get(sidecar.address(), METRICS_PATH)?.status == 200);
    }
    let scrape_us = (sidecar.cpu_us()? - before) / f64::from(SCRAPES);
    Ok(Figures {
        resident_mib: sidecar.memory("VmRSS:")?,
        anonymous_mib: sidecar.memory("RssAnon:")?,
        core_percent,
        scrape_us,
        series: exposition
            .families
            .iter()
            .map(|family| exposition.series(&family.name).count())
            .sum::<usize>() as f64,
        calls_per_minute,
    })
}

/// The number of driver calls, and the time of the poll that has counted them.
fn calls(sidecar: &Program) -> Result<(f64, f64)> {
    Ok((
        sidecar.value("vdi_metrics_nvml_calls_total")?,
        sidecar.value("vdi_metrics_last_collect_timestamp_seconds")?,
    ))
}

/// The median time of several starts.
fn start_ms() -> Result<f64> {
    let mut times = vec![];
    for _ in 0..STARTS {
        let began = Instant::now();
        let sidecar = start(1)?;
        ensure!(http::get(sidecar.program.address(), METRICS_PATH)?.status == 200);
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(quantile(&mut times, 0.5))
}
