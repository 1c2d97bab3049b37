//! The real sidecar beside a fake driver, seen as Prometheus sees it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use fake_nvml::{Behaviour, Device, Memory, Scenario, Symbol, Utilization};
use kit::{
    exposition::Exposition,
    http,
    process::{Process, eventually},
};
use vdi_metrics::{
    contract::{METRICS_PATH, env},
    runtime::{REVISION, VERSION},
};

const UUID: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
const LAST_COLLECT: &str = "vdi_metrics_last_collect_timestamp_seconds";
const BUSY: &str = "vdi_session_gpu_busy_seconds_total";

/// A sidecar and the scenario that its driver plays.
struct Sidecar {
    process: Process,
    address: SocketAddr,
    scenario: PathBuf,
    _folder: kit::tempfile::TempDir,
}

impl Sidecar {
    fn start(scenario: &Scenario, settings: &[(&str, &str)]) -> Self {
        let folder = kit::tempfile::tempdir().unwrap();
        let path = folder.path().join("scenario.json");
        scenario.write(&path).unwrap();
        let process = Process::spawn(
            Command::new(env!("CARGO_BIN_EXE_vdi-metrics-sidecar"))
                .env_clear()
                .env(env::LISTEN, "127.0.0.1:0")
                .env(env::NVML_LIBRARY, fake_nvml::library().unwrap())
                .env(fake_nvml::SCENARIO, &path)
                .envs(settings.iter().copied()),
        );
        Self { address: process.address(), process, scenario: path, _folder: folder }
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

    fn first_read(&self) -> Exposition {
        self.scrape_until("the first read", |seen| seen.value(LAST_COLLECT, &[]).is_some())
    }
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

/// Polls so fast that a test can wait for it.
const FAST: (&str, &str) = (env::INTERVAL, "0.02");

fn failing(symbol: Symbol, code: u32) -> Scenario {
    with(symbol, Behaviour { returns: Some(code), delay_ms: 0 })
}

fn hanging(symbol: Symbol) -> Scenario {
    with(symbol, Behaviour { returns: None, delay_ms: 600_000 })
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

#[test]
fn every_scenario_has_its_exposition() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let named = |extension: &str| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|it| it == extension));
        paths.sort();
        paths
    };
    let bless = std::env::var_os("BLESS").is_some();
    let scenarios = named("json");
    assert!(!scenarios.is_empty());
    for scenario in &scenarios {
        let golden = scenario.with_extension("prom");
        let exposition = exposition_of(scenario);
        if bless {
            fs::write(&golden, &exposition).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(exposition, expected, "{} differs; BLESS=1 rewrites it", golden.display());
    }
    let stale: Vec<PathBuf> =
        named("prom").into_iter().filter(|golden| !golden.with_extension("json").exists()).collect();
    assert!(stale.is_empty(), "goldens without a scenario: {stale:?}");
}

/// What the first read of a scenario makes, with the values that change from run to run masked.
fn exposition_of(scenario: &Path) -> String {
    let sidecar = Sidecar::start(
        &Scenario::read(scenario).unwrap(),
        &[(env::SESSION, "alice-7"), (env::TEMPLATE, "cad-workstation"), (env::POOL, "berlin")],
    );
    sidecar.first_read();
    let text = http::get(sidecar.address, METRICS_PATH).unwrap().body;
    text.lines().map(|line| masked(line) + "\n").collect()
}

fn masked(line: &str) -> String {
    let changes = ["vdi_session_start_time_seconds ", LAST_COLLECT, "vdi_metrics_collect_duration_seconds "];
    if changes.iter().any(|name| line.starts_with(name)) {
        return format!("{} <changes>", line.rsplit_once(' ').unwrap().0);
    }
    let build = format!("version=\"{VERSION}\",revision=\"{REVISION}\"");
    line.replace(&build, "<build>")
}

#[test]
fn without_a_library_it_lives_and_says_so() {
    let sidecar = Sidecar::start(&busy_gpu(), &[(env::NVML_LIBRARY, "/nowhere/libnvidia-ml.so.1"), FAST]);
    let seen = sidecar.first_read();
    assert_eq!(unavailable(&seen), "library_missing");
    assert_eq!(seen.value("vdi_metrics_collect_success", &[]), Some(0.0));
    assert_eq!(
        seen.value("vdi_metrics_nvml_errors_total", &[("call", "init"), ("code", "library_missing")]),
        Some(1.0)
    );
}

#[test]
fn a_library_that_appears_is_opened() {
    let folder = kit::tempfile::tempdir().unwrap();
    let library = folder.path().join("libnvidia-ml.so.1");
    let sidecar = Sidecar::start(&busy_gpu(), &[(env::NVML_LIBRARY, library.to_str().unwrap()), FAST]);
    assert_eq!(unavailable(&sidecar.first_read()), "library_missing");
    std::os::unix::fs::symlink(fake_nvml::library().unwrap(), library).unwrap();
    sidecar.scrape_until("the GPU", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(1.0));
}

#[test]
fn busy_seconds_survive_a_lost_gpu() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    let busy = |seen: &Exposition| seen.value(BUSY, &[("gpu", UUID), ("scope", "session")]);
    let before = sidecar.scrape_until("busy seconds", |seen| busy(seen) > Some(0.1));

    let mut lost = busy_gpu();
    lost.devices[0].lost = true;
    sidecar.play(&lost);
    let gone =
        sidecar.scrape_until("the loss", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(0.0));
    assert_eq!(unavailable(&gone), "gpu_lost");
    assert!(busy(&gone) >= busy(&before));

    sidecar.play(&busy_gpu());
    let back =
        sidecar.scrape_until("the return", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(1.0));
    assert!(busy(&back) >= busy(&gone));
    sidecar.scrape_until("more busy seconds", |seen| busy(seen) > busy(&back));
}

#[test]
fn a_driver_that_goes_is_reopened_when_it_is_back() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    sidecar.first_read();
    let mut reloading = failing(Symbol::nvmlInit_v2, 9);
    reloading.calls.insert(Symbol::nvmlDeviceGetCount_v2, Behaviour { returns: Some(1), delay_ms: 0 });
    sidecar.play(&reloading);
    let reason = "vdi_session_gpu_unavailable_info";
    sidecar.scrape_until("the loss", |seen| seen.value(reason, &[("reason", "driver_not_loaded")]).is_some());
    sidecar.play(&busy_gpu());
    sidecar.scrape_until("the driver", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(1.0));
}

#[test]
fn a_hung_driver_only_makes_the_snapshot_old() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    sidecar.first_read();
    sidecar.play(&hanging(Symbol::nvmlDeviceGetUtilizationRates));
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let seen =
        sidecar.scrape_until("an old snapshot", |seen| seen.value(LAST_COLLECT, &[]) < Some(now() - 0.5));
    assert_eq!(seen.value("vdi_session_gpu_utilization_ratio", &[("gpu", UUID)]), Some(1.0));
}

#[test]
fn before_the_first_read_nothing_is_claimed() {
    let sidecar = Sidecar::start(&hanging(Symbol::nvmlInit_v2), &[]);
    let seen = sidecar.scrape();
    assert_eq!(unavailable(&seen), "starting");
    for absent in [LAST_COLLECT, "vdi_metrics_collect_success", BUSY] {
        assert_eq!(seen.series(absent).count(), 0, "{absent}");
    }
}

#[test]
fn sigterm_ends_it_at_once_even_in_a_hung_driver() {
    // The fastest of three, because the machine may be busy with something else.
    let ends = (0..3).map(|_| {
        let sidecar = Sidecar::start(&hanging(Symbol::nvmlDeviceGetCount_v2), &[]);
        sidecar.scrape();
        let (status, took) = sidecar.process.terminate();
        assert_eq!(status.code(), Some(0));
        took
    });
    let fastest = ends.min().unwrap();
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[test]
fn a_bad_setting_is_named_and_the_default_used() {
    let sidecar = Sidecar::start(&busy_gpu(), &[(env::INTERVAL, "often")]);
    sidecar.process.logged("VDI_METRICS_INTERVAL is \"often\": give seconds from 5 to 300");
    sidecar.first_read();
}

#[test]
fn a_broken_scenario_is_named_by_file_and_field() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    // In one step: a file that is being written is empty for a moment.
    let next = sidecar.scenario.with_extension("next");
    fs::write(&next, r#"{"devcies": []}"#).unwrap();
    fs::rename(next, &sidecar.scenario).unwrap();
    let line = sidecar.process.logged("fake_nvml: ");
    assert!(line.contains("scenario.json: unknown field `devcies`"), "{line}");
    sidecar.scrape_until("the failure", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(0.0));
}

#[test]
fn a_taken_port_is_waited_for() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vdi-metrics-sidecar"));
    let second = Process::spawn(command.env_clear().env(env::LISTEN, address.to_string()));
    second.logged(&format!("cannot listen on {address}"));
    drop(taken);
    assert_eq!(second.address(), address);
    assert_eq!(http::get(address, METRICS_PATH).unwrap().status, 200);
}

#[test]
fn http_is_answered_to_the_letter() {
    let sidecar = Sidecar::start(&busy_gpu(), &[]);
    let metrics = http::get(sidecar.address, METRICS_PATH).unwrap();
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4"));
    assert_eq!(http::get(sidecar.address, "/healthz").unwrap().status, 200);
    assert_eq!(http::get(sidecar.address, "/").unwrap().status, 404);
    let head = http::request(sidecar.address, "HEAD", METRICS_PATH).unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let post = http::request(sidecar.address, "POST", METRICS_PATH).unwrap();
    assert_eq!((post.status, post.header("allow")), (405, Some("GET,HEAD")));
}
