//! `make demo`: shows the main job on one machine, without a cluster and without a GPU.
//!
//! The real server and the real sidecar run. Two things are replaced: one HTTPS request stands in for the API server, and a
//! fake `libnvidia-ml.so.1` simulates a GPU during a working day. If a step fails, the demo ends with an error.
#![allow(clippy::print_stdout, reason = "a demo prints its result")]

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use fake_nvml::{Device, Memory, Scenario, Utilization};
use kit::{
    exposition::Exposition,
    http,
    process::{Process, eventually},
    tls::Certificate,
};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use vdi_metrics::contract::{CONTAINER, METRICS_PATH, env as variable};

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

fn main() -> Result<()> {
    let began = Instant::now();
    let pod: Value = serde_saphyr::from_str(include_str!("desktop.yaml"))?;

    println!(
        "\n1. A desktop pod is created: the webhook gets the request of an API server. It adds the lines with +.\n"
    );
    let certificate = Certificate::for_loopback()?;
    let server = Process::spawn(&mut serve(&certificate)?);
    let admitted = admit(&certificate, address(&server, "webhook")?, &pod)?;
    show_difference(&pod, &admitted)?;
    let decisions = scrape(&certificate.get(address(&server, "metrics")?, METRICS_PATH)?.body)?;
    let injected = [("outcome", "injected"), ("reason", "opted_in")];
    ensure!(
        decisions.value("vdi_metrics_admission_decisions_total", &injected) == Some(1.0),
        "the decision is not counted"
    );
    println!("\n   vdi_metrics_admission_decisions_total{{outcome=\"injected\",reason=\"opted_in\"}} 1");

    println!(
        "\n2. The sidecar runs with the environment of that container. A fake driver simulates a GPU during a working day.\n"
    );
    let folder = tempfile::tempdir()?;
    let scenario = folder.path().join("scenario.json");
    play(&scenario, 0, 0)?;
    let sidecar = Process::spawn(&mut sidecar(&admitted, &scenario)?);
    work_through_the_day(sidecar.address(), &scenario)?;

    println!("\n3. The session ends.\n");
    let (status, took) = sidecar.terminate();
    ensure!(status.success(), "the sidecar ended with {status}");
    println!("   The sidecar exited {} ms after SIGTERM.", took.as_millis());
    println!(
        "\nFinished in {:.0} s. To install on a cluster, see \"Install\" in README.md.",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The folder with the programs of `cargo build --bins`.
fn build_folder() -> Result<PathBuf> {
    let example = env::current_exe()?;
    Ok(example.parent().and_then(Path::parent).context("the demo was not started by cargo")?.to_owned())
}

fn serve(certificate: &Certificate) -> Result<Command> {
    let mut command = Command::new(build_folder()?.join("vdi-metrics"));
    command.arg("serve").arg("--tls-cert").arg(certificate.cert()).arg("--tls-key").arg(certificate.key());
    for listen in ["--listen", "--metrics-listen", "--health-listen"] {
        command.args([listen, "127.0.0.1:0"]);
    }
    // The demo must not use a cluster that this machine has configured.
    command.env_clear().env("KUBECONFIG", "/nonexistent");
    Ok(command)
}

fn address(server: &Process, name: &str) -> Result<SocketAddr> {
    let line = server.logged(&format!("server=\"{name}\""));
    Ok(line.split("address=").nth(1).context("no address in the log")?.trim().parse()?)
}

/// Sends the review and applies the patch of the answer, as an API server does.
fn admit(certificate: &Certificate, webhook: SocketAddr, pod: &Value) -> Result<Value> {
    let request = json!({
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "desktops",
        "object": pod,
    });
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let response = certificate.post(webhook, "/mutate", "application/json", &review.to_string())?;
    ensure!(response.status == 200, "the webhook answered {}: {}", response.status, response.body);
    let answer: Value = serde_json::from_str(&response.body)?;
    let patch = answer["response"]["patch"].as_str().context("the webhook sent no patch")?;
    let mut admitted = pod.clone();
    json_patch::patch(
        &mut admitted,
        &serde_json::from_slice::<json_patch::Patch>(&BASE64_STANDARD.decode(patch)?)?,
    )?;
    Ok(admitted)
}

fn show_difference(before: &Value, after: &Value) -> Result<()> {
    let (before, after) = (serde_saphyr::to_string(before)?, serde_saphyr::to_string(after)?);
    let difference = TextDiff::from_lines(&before, &after);
    ensure!(
        difference.iter_all_changes().all(|change| change.tag() != ChangeTag::Delete),
        "the patch removes something from the pod"
    );
    for change in difference.iter_all_changes() {
        let (sign, colour) = if change.tag() == ChangeTag::Insert { ("+", "\x1b[32m") } else { (" ", "") };
        let (colour, plain) = if colours() { (colour, "\x1b[0m") } else { ("", "") };
        println!("   {colour}{sign} {}{plain}", change.value().trim_end());
    }
    Ok(())
}

fn colours() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdout())
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
        let bar = "#".repeat(percent as usize / 5);
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

fn scrape(body: &str) -> Result<Exposition> {
    Exposition::parse(body).map_err(anyhow::Error::msg)
}
