//! The sidecar of a desktop with its own card, during a working day.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use fake_nvml::{Device, Memory, Scenario, Utilization};
use kit::{
    http,
    process::{Process, eventually},
};
use serde_json::Value;
use vdi_metrics::contract::{CONTAINER, METRICS_PATH, env as variable};

use crate::{bar, build_folder, scrape};

const GPU: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";

/// Time, activity of the user, utilization in percent and GPU memory in GiB.
const DAY: [(&str, &str, u32, u64); 9] = [
    ("08:30", "signs in", 12, 1),
    ("09:00", "reads mail", 3, 1),
    ("10:00", "rotates a model", 46, 6),
    ("11:00", "rotates it faster", 71, 9),
    ("12:00", "has lunch", 0, 9),
    ("13:00", "renders", 98, 21),
    ("14:00", "renders", 97, 21),
    ("15:00", "in a video call", 35, 10),
    ("16:30", "closes documents", 8, 2),
];

/// Entry of `DAY` of which the exposition is printed.
const SHOWN: &str = "13:00";

/// Metrics to print of that exposition.
const METRICS: [&str; 6] = [
    "vdi_session_info",
    "vdi_session_gpu_utilization_ratio",
    "vdi_session_gpu_memory_used_bytes",
    "vdi_session_gpu_busy_seconds_total",
    "vdi_session_gpu_allocated_seconds_total",
    "vdi_session_gpu_attribution_info",
];

/// Duration of one entry of `DAY` in the demo.
const HOUR: Duration = Duration::from_millis(1100);

/// Runs the sidecar of this pod through the day, and ends its session.
pub(crate) fn show(pod: &Value) -> Result<()> {
    println!(
        "\n2. The sidecar runs with the environment of that container. A fake driver simulates a GPU during a working day.\n"
    );
    let folder = kit::tempfile::tempdir()?;
    let scenario = folder.path().join("scenario.json");
    play(&scenario, 0, 0)?;
    let sidecar = Process::spawn(&mut sidecar(pod, &scenario)?);
    work_through_the_day(sidecar.address(), &scenario)?;

    println!("\n3. The session ends.\n");
    let (status, took) = sidecar.terminate();
    ensure!(status.success(), "the sidecar ended with {status}");
    println!("   The sidecar exited {} ms after SIGTERM.", took.as_millis());
    Ok(())
}

/// The command that the kubelet would run, but with a free port, ten polls per second and the fake driver.
fn sidecar(pod: &Value, scenario: &Path) -> Result<Command> {
    let containers = pod["spec"]["initContainers"].as_array().context("no sidecar in the pod")?;
    let container =
        containers.iter().find(|container| container["name"] == CONTAINER).context("no sidecar")?;
    let mut command = Command::new(build_folder()?.join("vdi-metrics-sidecar"));
    command.env_clear();
    for entry in container["env"].as_array().context("no environment")? {
        let value = entry["value"]
            .as_str()
            .or_else(|| field(pod, entry["valueFrom"]["fieldRef"]["fieldPath"].as_str()?));
        command.env(
            entry["name"].as_str().context("no name")?,
            value.context("an environment variable without a value")?,
        );
    }
    command.env(variable::LISTEN, "127.0.0.1:0").env(variable::INTERVAL, "0.1");
    command.env(variable::NVML_LIBRARY, fake_nvml::library()?).env(fake_nvml::SCENARIO, scenario);
    Ok(command)
}

/// The value of a downward API field, such as `metadata.labels['key']`.
fn field<'a>(pod: &'a Value, path: &str) -> Option<&'a str> {
    let (map, key) = path.strip_prefix("metadata.")?.strip_suffix("']")?.split_once("['")?;
    pod["metadata"][map][key].as_str()
}

fn play(scenario: &Path, percent: u32, gibibytes: u64) -> Result<()> {
    let device = Device {
        uuid: Some(GPU.into()),
        name: Some("NVIDIA L40S".into()),
        utilization: Some(Utilization { gpu: percent, memory: percent / 2 }),
        memory: Some(Memory { total: 48 << 30, reserved: 1 << 29, used: gibibytes << 30 }),
        ..Device::default()
    };
    let driver =
        Scenario { driver_version: Some("580.95.05".into()), devices: vec![device], ..Scenario::default() };
    Ok(driver.write(scenario)?)
}

fn work_through_the_day(sidecar: SocketAddr, scenario: &Path) -> Result<()> {
    println!(
        "   {:<6} {:<22} {:>9}  {:<20} {:>10} {:>13}",
        "", "alice-1", "GPU busy", "", "GPU memory", "busy seconds"
    );
    let (device, session) = ([("gpu", GPU)], [("gpu", GPU), ("scope", "session")]);
    let (mut before, mut shown) = (0.0, String::new());
    for (hour, activity, percent, gibibytes) in DAY {
        play(scenario, percent, gibibytes)?;
        std::thread::sleep(HOUR);
        let busy = f64::from(percent) / 100.0;
        let (seen, body) = eventually(&format!("a scrape that shows {percent} %"), || {
            let body = http::get(sidecar, METRICS_PATH).ok()?.body;
            let seen = scrape(&body).ok()?;
            (seen.value("vdi_session_gpu_utilization_ratio", &session) == Some(busy)).then_some((seen, body))
        });
        let memory = seen.value("vdi_session_gpu_memory_used_bytes", &session).context("no memory")?;
        let total = seen.value("vdi_session_gpu_busy_seconds_total", &session).context("no busy seconds")?;
        ensure!(seen.value("vdi_session_gpu_memory_total_bytes", &device).is_some(), "no memory size");
        let bar = bar(percent);
        println!(
            "   {hour:<6} {activity:<22} {percent:>7} %  {bar:<20} {:>6.0} GiB {total:>11.1} s",
            memory / 2f64.powi(30)
        );
        if total < before {
            bail!("the busy seconds fell from {before} to {total}");
        }
        before = total;
        if hour == SHOWN {
            shown = body;
        }
    }
    ensure!(before > 0.0, "no busy seconds after the working day");
    println!("\n   The sidecar's /metrics at {SHOWN}, in part:\n");
    for line in
        shown.lines().filter(|line| METRICS.iter().any(|metric| line.starts_with(&format!("{metric}{{"))))
    {
        println!("     {line}");
    }
    Ok(())
}
