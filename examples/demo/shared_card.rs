//! Two desktops on one card: the node agent reads the card, and each sidecar shows the part of its own desktop.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use fake_nvml::{Device, Memory, ProcessUtilization, Scenario, Utilization};
use kit::{
    exposition::Exposition,
    http,
    node_folder::NodeFolder,
    process::{Process, eventually},
};
use vdi_metrics::contract::METRICS_PATH;

use crate::{bar, build_folder, scrape};

const CARD: &str = "GPU-7c41d6e0-2b9a-4d15-8f36-90e1b5a7c248";

/// A process on the card, which belongs to a desktop or to the node itself.
struct Work {
    name: &'static str,
    /// UID of the desktop's pod; none for the process of the node.
    uid: Option<&'static str>,
    pid: u32,
    percent: u32,
    gibibytes: u64,
}

const WORK: [Work; 3] = [
    Work {
        name: "alice renders",
        uid: Some("0a11ce00-0000-4000-8000-000000000001"),
        pid: 101,
        percent: 50,
        gibibytes: 12,
    },
    Work {
        name: "bob reads mail",
        uid: Some("0b0b0000-0000-4000-8000-000000000002"),
        pid: 202,
        percent: 20,
        gibibytes: 3,
    },
    Work { name: "a process of the node", uid: None, pid: 303, percent: 5, gibibytes: 1 },
];

/// Seconds between two polls of the agent.
const INTERVAL: f64 = 0.2;

/// Seconds between two polls of a sidecar. With the agent's interval, a sidecar could miss a report, and it counts no work in a gap of
/// more than two of its own intervals.
const SIDECAR_INTERVAL: f64 = 2.0 * INTERVAL;

/// Seconds of the card after which the desktops are compared.
const SECONDS: f64 = 2.0;

/// Tolerance of the busy seconds: the first poll of a sidecar is the begin of its allocation, and a poll can be late.
const TOLERANCE: f64 = 0.1;

/// Runs the agent and two sidecars, and compares the sidecars with the work of their desktops.
pub(crate) fn show() -> Result<()> {
    println!(
        "\n4. Two desktops share a card, and a process of the node uses 5 % of it. The node agent tells them apart. Their sidecars\n   \
         see no driver.\n"
    );
    let node = NodeFolder::new(&scenario());
    for work in &WORK {
        match work.uid {
            Some(uid) => node.add_session(uid, work.pid),
            None => node.add_process(work.pid, "/system.slice/display-manager.service"),
        }
    }
    let programs = build_folder()?;
    let _agent = Process::spawn(&mut node.agent(&programs.join("vdi-metrics-node"), INTERVAL));
    let no_driver = Path::new("/nonexistent/libnvidia-ml.so.1");
    let desktops: Vec<_> = WORK.iter().filter_map(|work| Some((work, work.uid?))).collect();
    let program = programs.join("vdi-metrics-sidecar");
    let start = |uid| Process::spawn(&mut node.sidecar(&program, uid, no_driver, SIDECAR_INTERVAL));
    let sidecars: Vec<_> = desktops.iter().map(|(work, uid)| (*work, start(uid))).collect();
    println!(
        "   {:<22} {:>9}  {:<20} {:>10} {:>13} {:>12}",
        "", "GPU busy", "", "GPU memory", "busy seconds", "entire card"
    );
    for (work, sidecar) in &sidecars {
        let seen = eventually("two seconds of the card", || {
            let seen = scrape(&http::get(sidecar.address(), METRICS_PATH).ok()?.body).ok()?;
            allocated(&seen).filter(|seconds| *seconds >= SECONDS).map(|_| seen)
        });
        show_desktop(work, &seen)?;
    }
    Ok(())
}

/// Prints the values that a sidecar shows of its own desktop, and compares them with the desktop's work.
fn show_desktop(work: &Work, seen: &Exposition) -> Result<()> {
    let value = |metric: &str, scope: &str| {
        seen.value(&format!("vdi_session_gpu_{metric}"), &[("gpu", CARD), ("scope", scope)])
            .with_context(|| format!("{}: no {metric} of the {scope}", work.name))
    };
    let (ratio, card) = (value("utilization_ratio", "session")?, value("utilization_ratio", "device")?);
    let (memory, busy) = (value("memory_used_bytes", "session")?, value("busy_seconds_total", "session")?);
    println!(
        "   {:<22} {:>7.0} %  {:<20} {:>6.0} GiB {busy:>11.1} s {:>10.0} %",
        work.name,
        ratio * 100.0,
        bar(work.percent),
        memory / 2f64.powi(30),
        card * 100.0
    );
    let expected = f64::from(work.percent) / 100.0;
    let all: u32 = WORK.iter().map(|work| work.percent).sum();
    let expected_busy = expected * allocated(seen).context("no allocated seconds")?;
    ensure!(ratio == expected, "{}: the sidecar shows {ratio}, expected {expected}", work.name);
    ensure!(card == f64::from(all) / 100.0, "the card is {card} busy, expected {all} %");
    ensure!(memory == 2f64.powi(30) * work.gibibytes as f64, "{}: {memory} bytes", work.name);
    ensure!((busy - expected_busy).abs() < TOLERANCE, "{}: {busy} s, expected {expected_busy} s", work.name);
    Ok(())
}

fn allocated(seen: &Exposition) -> Option<f64> {
    seen.value("vdi_session_gpu_allocated_seconds_total", &[("gpu", CARD)])
}

/// A card with all the work, and nothing else.
fn scenario() -> Scenario {
    let process = |work: &Work| fake_nvml::Process {
        pid: work.pid,
        memory: Some(work.gibibytes << 30),
        ends_after_lists: None,
    };
    let sample =
        |work: &Work| ProcessUtilization { pid: work.pid, sm: work.percent, ..ProcessUtilization::default() };
    let card = Device {
        uuid: Some(CARD.into()),
        name: Some("NVIDIA L40S".into()),
        utilization: Some(Utilization { gpu: WORK.iter().map(|work| work.percent).sum(), memory: 20 }),
        memory: Some(Memory {
            total: 48 << 30,
            reserved: 1 << 29,
            used: WORK.iter().map(|work| work.gibibytes << 30).sum(),
        }),
        graphics: Some(WORK.iter().map(process).collect()),
        compute: Some(vec![]),
        process_utilization: Some(WORK.iter().map(sample).collect()),
        ..Device::default()
    };
    Scenario { driver_version: Some("580.95.05".into()), devices: vec![card], ..Scenario::default() }
}
