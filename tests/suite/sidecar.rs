//! The real sidecar beside a fake driver, seen as Prometheus sees it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use fake_nvml::{Behaviour, Device, Memory, ProcessUtilization, Samples, Scenario, Symbol, Utilization};
use kit::{
    exposition::Exposition,
    http,
    process::{Process, eventually},
};
use serde::Deserialize;
use vdi_metrics::{
    contract::{ANNOTATIONS, METRICS_PATH, VOLUME_PATH, env},
    runtime::{REVISION, VERSION},
};

mod driver;
mod http_server;
mod scenarios;
mod session;

const UUID: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
const OTHER: &str = "GPU-00000000-0c3a-4f6e-9b7d-21a4c8e6f035";
const AVAILABLE: &str = "vdi_session_gpu_available";
const SUCCESS: &str = "vdi_metrics_collect_success";
const ERRORS: &str = "vdi_metrics_nvml_errors_total";
const LAST_COLLECT: &str = "vdi_metrics_last_collect_timestamp_seconds";
const BUSY: &str = "vdi_session_gpu_busy_seconds_total";

/// A sidecar and the scenario that its driver plays.
struct Sidecar {
    process: Process,
    address: SocketAddr,
    scenario: PathBuf,
    root: PathBuf,
    _folder: kit::tempfile::TempDir,
}

/// What a container has of files, processes and variables.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Container {
    /// Of the pod, as the downward API writes them.
    annotations: BTreeMap<String, String>,
    /// Environments by number.
    processes: BTreeMap<u32, String>,
    own_pid: u32,
    files: BTreeMap<PathBuf, String>,
    variables: BTreeMap<String, String>,
}

impl Default for Container {
    /// Its processes are its own: it is the first of them.
    fn default() -> Self {
        Self {
            annotations: BTreeMap::new(),
            processes: BTreeMap::new(),
            own_pid: 1,
            files: BTreeMap::new(),
            variables: BTreeMap::new(),
        }
    }
}

impl Container {
    /// Of a pod that shares its processes, with one of the desktop's.
    fn shared(pid: u32, environment: &str) -> Self {
        Self { own_pid: 9, processes: [(pid, environment.to_owned())].into(), ..Self::default() }
    }

    fn make(&self, root: &Path) {
        let write = |path: &Path, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("dev/termination-log".as_ref(), "");
        for (pid, environment) in &self.processes {
            write(format!("proc/{pid}/environ").as_ref(), environment);
        }
        fs::create_dir_all(root.join("proc")).unwrap();
        std::os::unix::fs::symlink(self.own_pid.to_string(), root.join("proc/self")).unwrap();
        let annotations: String =
            self.annotations.iter().map(|(key, value)| format!("{key}={value:?}\n")).collect();
        write(&Path::new(VOLUME_PATH.trim_start_matches('/')).join(ANNOTATIONS), &annotations);
        for (path, text) in &self.files {
            write(path, text);
        }
    }
}

impl Sidecar {
    fn start(scenario: &Scenario, settings: &[(&str, &str)]) -> Self {
        Self::start_in(&Container::default(), scenario, settings)
    }

    fn start_in(container: &Container, scenario: &Scenario, settings: &[(&str, &str)]) -> Self {
        let folder = kit::tempfile::tempdir().unwrap();
        let path = folder.path().join("scenario.json");
        let root = folder.path().join("root");
        scenario.write(&path).unwrap();
        container.make(&root);
        let process = Process::spawn(
            Command::new(env!("CARGO_BIN_EXE_vdi-metrics-sidecar"))
                .env_clear()
                .env(env::LISTEN, "127.0.0.1:0")
                .env(env::NVML_LIBRARY, fake_nvml::library().unwrap())
                .env(fake_nvml::SCENARIO, &path)
                .env(env::ROOT, &root)
                .envs(&container.variables)
                .envs(settings.iter().copied()),
        );
        Self { address: process.address(), process, scenario: path, root, _folder: folder }
    }

    fn play(&self, scenario: &Scenario) {
        scenario.write(&self.scenario).unwrap();
    }

    fn scrape(&self) -> Exposition {
        let response = http::get(self.address, METRICS_PATH).unwrap();
        assert_eq!(response.status, 200);
        Exposition::parse(&response.body).unwrap()
    }

    /// The first exposition that has what `probe` looks for.
    fn scrape_until(&self, what: &str, probe: impl Fn(&Exposition) -> bool) -> Exposition {
        eventually(what, || Some(self.scrape()).filter(&probe))
    }

    /// Its exit code and its last word.
    fn end(self) -> (Option<i32>, serde_json::Value) {
        let (status, _) = self.process.terminate();
        let text = fs::read_to_string(self.root.join("dev/termination-log")).unwrap();
        assert!(text.len() <= 1024, "{text}");
        (status.code(), serde_json::from_str(&text).unwrap())
    }

    /// The first last word that has what `probe` looks for.
    fn word_until(&self, what: &str, probe: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let path = self.root.join("dev/termination-log");
        let word = || serde_json::from_str(&fs::read_to_string(&path).ok()?).ok();
        eventually(what, || word().filter(&probe))
    }

    /// Names a GPU in the pod's annotations, as the kubelet does: in one step.
    fn annotate(&self, gpu: &str) {
        let file = self.root.join(VOLUME_PATH.trim_start_matches('/')).join(ANNOTATIONS);
        fs::write(file.with_extension("next"), format!("vdi-metrics.io/gpu=\"{gpu}\"\n")).unwrap();
        fs::rename(file.with_extension("next"), file).unwrap();
    }

    fn first_read(&self) -> Exposition {
        self.scrape_until("the first read", |seen| seen.value(LAST_COLLECT, &[]).is_some())
    }
}

/// Seconds of a device in all scopes: 0 where there are none.
fn total(seen: &Exposition, what: &str, gpu: &str) -> f64 {
    let name = format!("vdi_session_gpu_{what}_seconds_total");
    seen.series(&name).filter(|series| series.labels["gpu"] == gpu).map(|series| series.value).sum()
}

fn busy_gpu() -> Scenario {
    Scenario {
        driver_version: Some("580.95.05".into()),
        nvml_version: Some("13.580.95.05".into()),
        devices: vec![Device {
            uuid: Some(UUID.into()),
            name: Some("NVIDIA L40S".into()),
            utilization: Some(Utilization { gpu: 100, memory: 40 }),
            memory: Some(Memory { total: 48 << 30, reserved: 1 << 29, used: 6 << 30 }),
            ..Device::default()
        }],
        ..Scenario::default()
    }
}

/// A card on which a process has a compute context, 1 GiB and what its shares say.
fn with_a_process(pid: u32, shares: Vec<ProcessUtilization>) -> Scenario {
    let mut scenario = busy_gpu();
    let card = &mut scenario.devices[0];
    card.compute = Some(vec![fake_nvml::Process { pid, memory: Some(1 << 30), ends_after_lists: None }]);
    (card.graphics, card.process_utilization) = (Some(vec![]), Some(shares));
    scenario
}

/// Of two cards the second; both can tell.
fn two_and_a_process_on_the_other() -> Scenario {
    let mut scenario = with_a_process(7, vec![]);
    scenario.devices[0].process_utilization = None;
    scenario.devices.push(Device { uuid: Some(OTHER.into()), ..scenario.devices[0].clone() });
    scenario.devices[0].compute = Some(vec![]);
    scenario
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Polls so fast that a test can wait for it.
const FAST: (&str, &str) = (env::INTERVAL, "0.02");

fn failing(symbol: Symbol, code: u32) -> Scenario {
    with(symbol, Behaviour { returns: Some(code), ..Behaviour::default() })
}

fn hanging(symbol: Symbol) -> Scenario {
    with(symbol, Behaviour { delay_ms: 600_000, ..Behaviour::default() })
}

fn with(symbol: Symbol, behaviour: Behaviour) -> Scenario {
    Scenario { calls: [(symbol, behaviour)].into(), ..busy_gpu() }
}

/// Why the sidecar says that there is no GPU; panics where it shows a value of one all the same.
fn unavailable(seen: &Exposition) -> &str {
    assert_eq!(seen.value("vdi_session_gpu_available", &[]), Some(0.0));
    for absent in ["utilization_ratio", "memory_used_bytes", "memory_total_bytes", "info", "attribution_info"]
    {
        assert_eq!(seen.series(&format!("vdi_session_gpu_{absent}")).count(), 0, "{absent}");
    }
    let mut reasons = seen.series("vdi_session_gpu_unavailable_info");
    let reason = reasons.next().unwrap();
    assert_eq!((reason.value, reasons.next()), (1.0, None));
    &reason.labels["reason"]
}
