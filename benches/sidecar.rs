//! What the released sidecar takes of a desktop's node: memory, processor time, calls of the driver, time to its first
//! answer. The driver is the fake one, whose own work is in every figure of ours; the real library's is in none.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fake_nvml::Scenario;
use kit::{
    exposition::Exposition,
    http,
    process::{Process, eventually},
    tempfile,
};
use vdi_metrics::contract::{METRICS_PATH, env};

use crate::table::{Aim, Table, quantile};

/// Between two reads and between two scrapes, as shipped.
const INTERVAL: Duration = Duration::from_secs(15);
/// Of life as it is: reads, scrapes and waiting for faults of the card.
const INTERVALS: u32 = 8;
const SCRAPES: u32 = 500;
const STARTS: usize = 20;

struct Sidecar {
    process: Process,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

/// What one sidecar with so many GPUs of its own came to.
struct Figures {
    resident: f64,
    own: f64,
    core: f64,
    scrape_us: f64,
    series: f64,
    calls: f64,
}

pub(crate) fn measure() -> Result<Vec<Aim>> {
    let binary =
        fs::metadata(program()).with_context(|| format!("{}: run `make images`", program().display()))?;
    let [one, eight] = figures([1, 8])?;
    let mut table = Table::new("the sidecar beside a fake driver", ["1 GPU", "8 GPUs"]);
    for (name, of) in [
        ("resident, MiB", (|figures| figures.resident) as fn(&Figures) -> f64),
        ("of that its own, MiB", |figures| figures.own),
        ("of a core, %", |figures| figures.core),
        ("processor time of a scrape, us", |figures| figures.scrape_us),
        ("series", |figures| figures.series),
        ("calls of the driver in a minute", |figures| figures.calls),
    ] {
        table.row(name, [Some(of(&one)), Some(of(&eight))]);
    }
    table.print();
    let aim = |what: &str, at_most, found| Aim { what: what.to_owned(), at_most, found };
    Ok(vec![
        aim("sidecar, binary, MB", 1.5, binary.len() as f64 / 1e6),
        aim("sidecar, resident with one GPU, MiB", 4.0, one.resident),
        aim("sidecar, resident with eight GPUs, MiB", 6.0, eight.resident),
        aim("sidecar, % of a core at 15 s and 15 s", 0.1, one.core),
        aim("sidecar, ms from its start to an answered scrape, median", 20.0, start_ms()?),
    ])
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sidecar/vdi-metrics-sidecar")
}

/// A card that has every value, so many times.
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
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("scenario.json");
    scenario(gpus)?.write(&path)?;
    let mut command = Command::new(program());
    command
        .env_clear()
        .env(env::LISTEN, "127.0.0.1:0")
        .env(env::INTERVAL, INTERVAL.as_secs().to_string())
        .env(env::GPU_ACCESS, "claims")
        .env(env::NVML_LIBRARY, fake_nvml::library()?)
        .env(fake_nvml::SCENARIO, &path);
    let process = Process::spawn(&mut command);
    Ok(Sidecar { address: process.address(), process, _folder: folder })
}

/// Of sidecars with so many GPUs, side by side.
fn figures<const N: usize>(gpus: [usize; N]) -> Result<[Figures; N]> {
    let mut sidecars = vec![];
    for gpus in gpus {
        let sidecar = start(gpus)?;
        eventually("the GPUs", || {
            (sidecar.scrape().ok()?.series("vdi_session_gpu_info").count() == gpus).then_some(())
        });
        sidecars.push((sidecar.calls()?, sidecar.processor_us()?, sidecar));
    }
    for _ in 0..INTERVALS {
        std::thread::sleep(INTERVAL);
        for (_, _, sidecar) in &sidecars {
            sidecar.scrape()?;
        }
    }
    let figures: Vec<_> = sidecars
        .into_iter()
        .map(|(calls, cpu, sidecar)| of_one(calls, cpu, &sidecar))
        .collect::<Result<_>>()?;
    figures.try_into().map_err(|_| anyhow::anyhow!("as many as were started"))
}

fn of_one(calls: (f64, f64), cpu: f64, sidecar: &Sidecar) -> Result<Figures> {
    let time = INTERVAL * INTERVALS;
    let core = (sidecar.processor_us()? - cpu) / time.as_micros() as f64 * 100.0;
    let seen = sidecar.scrape()?;
    // What a snapshot says is of the time when it was made.
    let (told, at) = sidecar.calls()?;
    let calls = (told - calls.0) / (at - calls.1) * 60.0;
    let before = sidecar.processor_us()?;
    for _ in 0..SCRAPES {
        ensure!(http::get(sidecar.address, METRICS_PATH)?.status == 200);
    }
    let scrape_us = (sidecar.processor_us()? - before) / f64::from(SCRAPES);
    Ok(Figures {
        resident: sidecar.memory("VmRSS:")?,
        own: sidecar.memory("RssAnon:")?,
        core,
        scrape_us,
        series: seen.families.iter().map(|family| seen.series(&family.name).count()).sum::<usize>() as f64,
        calls,
    })
}

/// The median of so many starts.
fn start_ms() -> Result<f64> {
    let mut times = vec![];
    for _ in 0..STARTS {
        let began = Instant::now();
        let sidecar = start(1)?;
        ensure!(http::get(sidecar.address, METRICS_PATH)?.status == 200);
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(quantile(&mut times, 0.5))
}

// === impl Sidecar ===

impl Sidecar {
    fn scrape(&self) -> Result<Exposition> {
        Exposition::parse(&http::get(self.address, METRICS_PATH)?.body).map_err(anyhow::Error::msg)
    }

    /// How many there were, and when that was.
    fn calls(&self) -> Result<(f64, f64)> {
        let seen = self.scrape()?;
        let of = |name| seen.value(name, &[]).with_context(|| format!("no {name}"));
        Ok((of("vdi_metrics_nvml_calls_total")?, of("vdi_metrics_last_collect_timestamp_seconds")?))
    }

    /// By the scheduler's own account, of all threads.
    fn processor_us(&self) -> Result<f64> {
        let mut sum = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let account = fs::read_to_string(thread?.path().join("schedstat"))?;
            let nanoseconds: f64 = account.split(' ').next().context("no account")?.parse()?;
            sum += nanoseconds / 1e3;
        }
        Ok(sum)
    }

    /// MiB by a line of the process' status.
    fn memory(&self, line: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let value = status.lines().find_map(|text| text.strip_prefix(line)).context("no such line")?;
        Ok(value.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }
}
