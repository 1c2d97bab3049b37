//! The cost of the released node agent for eight cards and 64 sessions, compared with 64 sidecars that call the driver themselves.
//! Both run at the same time. The driver is the fake one, and the node has no kubelet: no figure includes its answers.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use fake_nvml::{Process, ProcessUtilization, Scenario};
use kit::node_folder::NodeFolder;
use vdi_metrics::{contract::REPORT, runtime::libc};

use crate::{
    program::Program,
    sidecar,
    table::{Table, Target, quantile},
};

const CARDS: usize = 8;
const SESSIONS: usize = 64;

/// The interval of polls and of scrapes, as shipped.
const INTERVAL: Duration = Duration::from_secs(15);
/// Duration of the measurement.
const INTERVALS: u32 = 8;
/// Duration of the measurement of ages, and the pause between two looks at the sidecars.
const AGE_INTERVALS: u32 = 4;
const AGE_PAUSE: Duration = Duration::from_millis(500);

/// Sidecars on a node, and its agent if it has one.
struct Node {
    folder: NodeFolder,
    agent: Option<Program>,
    sidecars: Vec<Program>,
}

/// What a node has used since its start.
#[derive(Clone, Copy, Debug)]
struct Usage {
    calls: f64,
    agent_cpu_us: f64,
    sidecars_cpu_us: f64,
}

/// A report that the agent has written for a session. Unix times in seconds.
#[derive(Clone, Copy, Debug)]
struct WrittenReport {
    written: f64,
    /// Time at which the agent has read the devices.
    read: f64,
}

/// Seconds between the agent's reading of the devices and a poll of a sidecar that uses the reading.
#[derive(Default)]
struct Ages {
    /// Of the first poll that uses a report.
    first_use: Vec<f64>,
    /// Of all polls.
    every_use: Vec<f64>,
}

/// What was seen of one session.
#[derive(Default)]
struct SeenReports {
    reports: Vec<WrittenReport>,
    /// Time of the sidecar's last poll.
    polled: Option<f64>,
    /// Time at which the report of the last poll was written.
    used: Option<f64>,
}

/// The figures of a node.
struct Figures {
    calls_per_minute: f64,
    agent_percent: Option<f64>,
    agent_mib: Option<f64>,
    sidecar_percent: f64,
    sidecar_mib: f64,
}

pub(crate) fn measure() -> Result<Vec<Target>> {
    let binary =
        fs::metadata(agent()).with_context(|| format!("{}: run `make images`", agent().display()))?;
    let nodes = [Node::start(true)?, Node::start(false)?];
    let [with_agent, with_driver] = figures(&nodes)?;
    let mut ages = nodes[0].ages()?;
    let [median, p99] = [0.5, 0.99].map(|fraction| quantile(&mut ages.first_use, fraction));
    let mut table = table(&with_agent, &with_driver);
    table.row("age of a report at its first use, s, median", [Some(median), None]);
    table.row("age of a report at its first use, s, p99", [Some(p99), None]);
    table.row("age of a report at every use, s, p99", [Some(quantile(&mut ages.every_use, 0.99)), None]);
    table.print();
    let target = |what: &str, max, measured| Target { what: what.to_owned(), max, measured };
    let calls = with_agent.calls_per_minute / with_driver.calls_per_minute;
    Ok(vec![
        target("node agent, binary, MB", 2.5, binary.len() as f64 / 1e6),
        target("node agent, driver calls, % of those of 64 sidecars", 100.0 / SESSIONS as f64, calls * 100.0),
        target("node agent, % of a core", 0.5, with_agent.agent_percent.unwrap_or(f64::NAN)),
        target("node agent, resident, MiB", 10.0, with_agent.agent_mib.unwrap_or(f64::NAN)),
        target("node agent, age of a report at its first use, s, p99", INTERVAL.as_secs_f64(), p99),
        target(
            "sidecar with the agent, % of a core",
            with_driver.sidecar_percent,
            with_agent.sidecar_percent,
        ),
        target("sidecar with the agent, resident, MiB", with_driver.sidecar_mib, with_agent.sidecar_mib),
    ])
}

fn table(with_agent: &Figures, with_driver: &Figures) -> Table {
    let mut table = Table::new("64 sessions on 8 cards", ["with the agent", "with the driver"]);
    for (name, figure) in [
        (
            "driver calls per minute",
            (|figures| Some(figures.calls_per_minute)) as fn(&Figures) -> Option<f64>,
        ),
        ("agent, share of a core, %", |figures| figures.agent_percent),
        ("agent, resident, MiB", |figures| figures.agent_mib),
        ("a sidecar, share of a core, %", |figures| Some(figures.sidecar_percent)),
        ("a sidecar, resident, MiB", |figures| Some(figures.sidecar_mib)),
    ] {
        table.row(name, [figure(with_agent), figure(with_driver)]);
    }
    table
}

fn agent() -> PathBuf {
    sidecar::program().with_file_name("vdi-metrics-node")
}

fn uid(session: usize) -> String {
    format!("{session:08x}-0000-4000-8000-000000000001")
}

fn pid(session: usize) -> u32 {
    1000 + session as u32
}

/// A driver with eight cards. Each has every value, and the processes of eight sessions.
fn scenario() -> Result<Scenario> {
    let mut scenario = sidecar::scenario(CARDS)?;
    for (index, card) in scenario.devices.iter_mut().enumerate() {
        let pids = || (0..SESSIONS).filter(|session| session % CARDS == index).map(pid);
        let process = |pid| Process { pid, memory: Some(1 << 30), ends_after_lists: None };
        card.graphics = Some(pids().map(process).collect());
        card.compute = Some(vec![]);
        let sample = |pid| ProcessUtilization { pid, sm: 5, encoder: 2, ..ProcessUtilization::default() };
        card.process_utilization = Some(pids().map(sample).collect());
    }
    Ok(scenario)
}

/// The figures of nodes that run at the same time.
fn figures<const N: usize>(nodes: &[Node; N]) -> Result<[Figures; N]> {
    let before = nodes.iter().map(Node::usage).collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    for _ in 0..INTERVALS {
        thread::sleep(INTERVAL);
        nodes.iter().try_for_each(Node::scrape)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let figures = nodes.iter().zip(before).map(|(node, before)| node.figures(before, seconds));
    let figures = figures.collect::<Result<Vec<_>>>()?;
    figures.try_into().map_err(|_| anyhow::anyhow!("the number of figures and of nodes differs"))
}

// === impl Node ===

impl Node {
    /// Starts a node whose sidecars show their session's card. Without an agent, an annotation names it.
    fn start(has_agent: bool) -> Result<Self> {
        let scenario = scenario()?;
        let folder = NodeFolder::new(&scenario);
        let library = if has_agent { "/nonexistent/libnvidia-ml.so.1".into() } else { fake_nvml::library()? };
        let interval = INTERVAL.as_secs_f64();
        let agent = has_agent.then(|| Program::start(&mut folder.agent(&agent(), interval)));
        let mut sidecars = vec![];
        for session in 0..SESSIONS {
            folder.add_session(&uid(session), pid(session));
            if !has_agent {
                let card =
                    scenario.devices[session % CARDS].uuid.as_deref().context("a card without a UUID")?;
                folder.annotate(&uid(session), &format!("vdi-metrics.io/gpu=\"{card}\"\n"));
            }
            let mut command = folder.sidecar(&sidecar::program(), &uid(session), &library, interval);
            sidecars.push(Program::start(&mut command));
        }
        let node = Self { folder, agent, sidecars };
        node.wait_for_cards()?;
        Ok(node)
    }

    fn wait_for_cards(&self) -> Result<()> {
        let deadline = Instant::now() + 3 * INTERVAL;
        let mut missing = SESSIONS;
        while missing > 0 {
            ensure!(Instant::now() < deadline, "{missing} sidecars show no card");
            thread::sleep(AGE_PAUSE);
            let mut shows = 0;
            for sidecar in &self.sidecars {
                shows += sidecar.scrape()?.series("vdi_session_gpu_info").count().min(1);
            }
            missing = SESSIONS - shows;
        }
        Ok(())
    }

    fn scrape(&self) -> Result<()> {
        self.agent.iter().chain(&self.sidecars).try_for_each(|program| program.scrape().map(drop))
    }

    fn usage(&self) -> Result<Usage> {
        let sum = |programs: &[Program], value: &dyn Fn(&Program) -> Result<f64>| {
            programs.iter().try_fold(0.0, |sum, program| anyhow::Ok(sum + value(program)?))
        };
        let agent = self.agent.as_slice();
        let calls_of_agent = sum(agent, &|program| program.value("vdi_metrics_node_nvml_calls_total"))?;
        let calls = sum(&self.sidecars, &|program| program.value("vdi_metrics_nvml_calls_total"))?;
        Ok(Usage {
            calls: calls_of_agent + calls,
            agent_cpu_us: sum(agent, &Program::cpu_us)?,
            sidecars_cpu_us: sum(&self.sidecars, &Program::cpu_us)?,
        })
    }

    fn figures(&self, before: Usage, seconds: f64) -> Result<Figures> {
        let after = self.usage()?;
        let percent = |before: f64, after: f64| (after - before) / seconds / 1e6 * 100.0;
        let resident = self.sidecars.iter().map(|sidecar| sidecar.memory("VmRSS:")).sum::<Result<f64>>()?;
        let agent_mib = self.agent.as_ref().map(|agent| agent.memory("VmRSS:")).transpose()?;
        Ok(Figures {
            calls_per_minute: (after.calls - before.calls) / seconds * 60.0,
            agent_percent: agent_mib.map(|_| percent(before.agent_cpu_us, after.agent_cpu_us)),
            agent_mib,
            sidecar_percent: percent(before.sidecars_cpu_us, after.sidecars_cpu_us) / SESSIONS as f64,
            sidecar_mib: resident / SESSIONS as f64,
        })
    }

    /// The ages of the reports that the sidecars use, over several intervals.
    fn ages(&self) -> Result<Ages> {
        let mut sessions: Vec<_> = (0..SESSIONS).map(|_| SeenReports::default()).collect();
        let mut ages = Ages::default();
        let end = Instant::now() + INTERVAL * AGE_INTERVALS;
        while Instant::now() < end {
            for (session, seen) in sessions.iter_mut().enumerate() {
                seen.add(self.report(session)?);
                let polled = self.sidecars[session].value("vdi_metrics_last_collect_timestamp_seconds")?;
                seen.add_poll(polled, &mut ages);
            }
            thread::sleep(AGE_PAUSE);
        }
        ensure!(ages.first_use.len() >= SESSIONS, "the sidecars have used {} reports", ages.first_use.len());
        Ok(ages)
    }

    fn report(&self, session: usize) -> Result<WrittenReport> {
        let file = self.folder.volume(&uid(session)).join(REPORT);
        let text = fs::read_to_string(&file)?;
        let at = serde_json::from_str::<serde_json::Value>(&text)?["at_us"].as_f64().context("no at_us")?;
        let started = (SystemTime::UNIX_EPOCH.elapsed()? - libc::since_boot()).as_secs_f64();
        let written = fs::metadata(&file)?.modified()?.duration_since(SystemTime::UNIX_EPOCH)?;
        // The time since the start of the node is rounded, so the same report has other times at each look.
        Ok(WrittenReport { written: written.as_secs_f64(), read: started + at / 1e6 })
    }
}

// === impl SeenReports ===

impl SeenReports {
    fn add(&mut self, report: WrittenReport) {
        if self.reports.last().is_none_or(|last| last.written < report.written) {
            self.reports.push(report);
        }
    }

    /// Adds the age of the report that the sidecar has used in the poll at this time.
    fn add_poll(&mut self, polled: f64, ages: &mut Ages) {
        // The report of a poll before the first look can be older than the first report that was seen.
        let is_new = self.polled.replace(polled).is_some_and(|last| last < polled);
        let used = self.reports.iter().rev().find(|report| report.written <= polled).filter(|_| is_new);
        let Some(used) = used else { return };
        let age = polled - used.read;
        ages.every_use.push(age);
        if self.used.replace(used.written).is_some_and(|last| last < used.written) {
            ages.first_use.push(age);
        }
    }
}
