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

use fake_nvml::{Behaviour, Device, Memory, Samples, Scenario, Symbol, Utilization};
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

const UUID: &str = "GPU-5fd8e2b1-0c3a-4f6e-9b7d-21a4c8e6f035";
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
#[derive(Debug, Default, Deserialize)]
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

impl Container {
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
        Self::start_in(&Container { own_pid: 1, ..Container::default() }, scenario, settings)
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
        paths.retain(|path| path.extension().is_some_and(|it| it == extension) && !is_container(path));
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

/// `NAME.container.json` is what the container of `NAME.json` has.
fn is_container(path: &Path) -> bool {
    path.to_str().unwrap().ends_with(".container.json")
}

/// What the first read of a scenario makes, with the values that change from run to run masked.
fn exposition_of(scenario: &Path) -> String {
    let container = fs::read_to_string(scenario.with_extension("container.json"));
    let container = container.map_or_else(
        |_| Container { own_pid: 1, ..Container::default() },
        |text| serde_json::from_str(&text).unwrap(),
    );
    let sidecar = Sidecar::start_in(
        &container,
        &Scenario::read(scenario).unwrap(),
        &[(env::SESSION, "alice-7"), (env::TEMPLATE, "cad-workstation"), (env::POOL, "berlin")],
    );
    sidecar.first_read();
    let text = http::get(sidecar.address, METRICS_PATH).unwrap().body;
    // Not the help texts: they are in the reference, once.
    let lines = text.lines().filter(|line| !line.starts_with("# HELP"));
    lines.map(|line| masked(line) + "\n").collect()
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
fn series_are_few() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let series = |name: &str| {
        let golden = fs::read_to_string(folder.join(format!("{name}.prom"))).unwrap();
        golden.lines().filter(|line| !line.starts_with('#')).count()
    };
    // One card of its own that has everything, with processes to be seen and a way that had to be passed over.
    assert!(series("everything_supported") <= 40, "{}", series("everything_supported"));
    // A shared one has a second scope for what the session's own processes have of it.
    assert!(series("processes") <= 45, "{}", series("processes"));
}

#[test]
fn an_annotation_is_followed_while_the_pod_lives() {
    let other = "GPU-00000000-0c3a-4f6e-9b7d-21a4c8e6f035";
    let mut two = busy_gpu();
    two.devices.push(Device { uuid: Some(other.into()), ..two.devices[0].clone() });
    let sidecar = Sidecar::start(&two, &[FAST]);
    assert_eq!(unavailable(&sidecar.first_read()), "several_devices");
    let annotate = |gpu: &str| {
        let file = sidecar.root.join(VOLUME_PATH.trim_start_matches('/')).join(ANNOTATIONS);
        fs::write(file.with_extension("next"), format!("vdi-metrics.io/gpu=\"{gpu}\"\n")).unwrap();
        fs::rename(file.with_extension("next"), file).unwrap();
    };
    let busy = |seen: &Exposition, gpu| seen.value(BUSY, &[("gpu", gpu)]).unwrap_or_default();
    let info = |seen: &Exposition, gpu| seen.value("vdi_session_gpu_info", &[("gpu", gpu)]).is_some();
    annotate(UUID);
    let first = sidecar.scrape_until("the first device", |seen| info(seen, UUID) && busy(seen, UUID) > 0.05);
    annotate(&format!("{other}::1"));
    let second = sidecar.scrape_until("the second", |seen| info(seen, other) && busy(seen, other) > 0.05);
    assert!(!info(&second, UUID));
    assert!(busy(&second, UUID) >= busy(&first, UUID), "what a device has done stays");
    let scope = |seen: &Exposition| {
        seen.series(BUSY).map(|series| series.labels["scope"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(scope(&second), ["session", "device"]);
    annotate("pending");
    let lost =
        sidecar.scrape_until("no device", |seen| seen.value("vdi_session_gpu_available", &[]) == Some(0.0));
    assert_eq!(unavailable(&lost), "several_devices");
    assert!(busy(&lost, other) >= busy(&second, other));
}

#[test]
fn faults_of_the_card_are_counted_by_number() {
    let with = |xids: &[u64]| {
        let mut scenario = busy_gpu();
        scenario.devices[0].xids = Some(xids.to_vec());
        scenario
    };
    let sidecar = Sidecar::start(&with(&[31]), &[(env::INTERVAL, "0.3")]);
    sidecar.first_read();
    sidecar.play(&with(&[31, 79, 79, 48, 999]));
    let count = |seen: &Exposition, xid| {
        seen.value("vdi_session_gpu_xid_errors_total", &[("gpu", UUID), ("xid", xid)])
    };
    let seen = sidecar.scrape_until("four faults", |seen| {
        seen.series("vdi_session_gpu_xid_errors_total").map(|series| series.value).sum::<f64>() >= 4.0
    });
    assert_eq!(
        (count(&seen, "79"), count(&seen, "48"), count(&seen, "other")),
        (Some(2.0), Some(1.0), Some(1.0))
    );
    assert_eq!(count(&seen, "31"), None, "that was before the session");
}

#[test]
fn the_last_word_is_said_as_it_goes_and_at_the_end() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    let path = sidecar.root.join("dev/termination-log");
    let word = || serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&path).unwrap()).ok();
    let early = eventually("a word with work in it", || {
        word().filter(|word| word["gpus"][0]["busy"].as_f64() > Some(0.2))
    });
    assert_eq!((&early["v"], &early["ended"]), (&1.into(), &false.into()));
    // Kept, because the folder goes with the sidecar.
    let (root, _folder) = (path.clone(), sidecar._folder);
    let (status, _) = sidecar.process.terminate();
    assert_eq!(status.code(), Some(0));
    let text = fs::read_to_string(root).unwrap();
    let last: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(text.len() <= 1024);
    assert_eq!(
        (&last["ended"], &last["gpus"][0]["gpu"], &last["gpus"][0]["scope"]),
        (&true.into(), &UUID.into(), &"session".into())
    );
    assert!(last["gpus"][0]["busy"].as_f64() >= early["gpus"][0]["busy"].as_f64());
    assert_eq!(last["by"], serde_json::json!(["single_device", "good"]));
    assert_eq!(last["gpus"][0]["peak"], 6u64 << 30);
}

#[test]
fn a_hung_driver_does_not_keep_the_last_word_back() {
    let sidecar = Sidecar::start(&busy_gpu(), &[FAST]);
    sidecar.scrape_until("work", |seen| seen.value(BUSY, &[]) > Some(0.1));
    sidecar.play(&hanging(Symbol::nvmlDeviceGetUtilizationRates));
    std::thread::sleep(Duration::from_millis(100));
    let path = sidecar.root.join("dev/termination-log");
    let _folder = sidecar._folder;
    sidecar.process.terminate();
    let last: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(last["ended"], true);
    assert!(last["gpus"][0]["busy"].as_f64() > Some(0.0));
}

/// Eight hours of work in 12 s: a read every 6 ms for one every 15 s, and samples as much closer.
#[test]
fn a_days_totals_are_what_was_used() {
    const FASTER: u64 = 2400;
    let hour = 3_600_000_000 / FASTER;
    let begins_us =
        (SystemTime::now() + Duration::from_millis(500)).duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let samples = Samples {
        period_us: 166_667 / FASTER,
        length: 1000,
        begins_us: begins_us.as_micros() as u64,
        course: vec![
            (hour, 20),
            (hour / 2, 0),
            (2 * hour, 75),
            (hour, 5),
            (2 * hour, 100),
            (hour / 2, 0),
            (hour, 40),
        ],
    };
    let used = samples.busy_seconds();
    let mut day = busy_gpu();
    day.devices[0].samples = Some(samples);
    let sidecar = Sidecar::start(&day, &[(env::INTERVAL, "0.01")]);
    std::thread::sleep(Duration::from_secs(13));
    let seen = sidecar.scrape();
    let of =
        |name: &str| seen.value(&format!("vdi_session_gpu_{name}_seconds_total"), &[("gpu", UUID)]).unwrap();
    let (busy, unsampled) = (of("busy"), of("unsampled"));
    assert!((busy - used).abs() <= used / 100.0 + unsampled, "{busy} of {used}, {unsampled} unsampled");
    assert!(unsampled < used / 20.0, "{unsampled}");
    let (start, now) =
        (seen.value("vdi_session_start_time_seconds", &[]).unwrap(), seen.value(LAST_COLLECT, &[]).unwrap());
    assert!((of("allocated") - (now - start)).abs() < 0.2, "{} of {}", of("allocated"), now - start);
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
fn sigterm_ends_it_soon_even_in_a_hung_driver() {
    // The fastest of three, because the machine may be busy with something else.
    let ends = (0..3).map(|_| {
        let sidecar = Sidecar::start(&hanging(Symbol::nvmlDeviceGetCount_v2), &[]);
        sidecar.scrape();
        let (status, took) = sidecar.process.terminate();
        assert_eq!(status.code(), Some(0));
        took
    });
    let fastest = ends.min().unwrap();
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
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
    let gone = http::request(sidecar.address, "HEAD", "/metrics/x").unwrap();
    assert_eq!(gone.status, 404);
    let post = http::request(sidecar.address, "POST", METRICS_PATH).unwrap();
    assert_eq!((post.status, post.header("allow")), (405, Some("GET,HEAD")));
}

#[test]
fn who_asks_for_gzip_gets_the_same_in_less() {
    let sidecar = Sidecar::start(&busy_gpu(), &[]);
    sidecar.first_read();
    let plain = http::get(sidecar.address, METRICS_PATH).unwrap().body;
    let mut stream = http::connect(sidecar.address).unwrap();
    write!(
        stream,
        "GET {METRICS_PATH} HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4\r\n"), "{head}");
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&answer[end..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    assert!((answer.len() - end) * 3 < plain.len(), "{} of {}", answer.len() - end, plain.len());
}

/// They are waited out: 32 at a time, for 7 s each.
#[test]
fn silent_clients_do_not_keep_a_scrape_away_for_ever() {
    let sidecar = Sidecar::start(&busy_gpu(), &[]);
    let silent: Vec<_> = (0..40).map(|_| http::connect(sidecar.address).unwrap()).collect();
    let mut slow = http::connect(sidecar.address).unwrap();
    slow.write_all(b"GET /metrics HTT").unwrap();
    let asked = Instant::now();
    let stream = http::connect(sidecar.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!("GET {METRICS_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_eq!(http::exchange(stream, &request).unwrap().status, 200);
    assert!(asked.elapsed() < Duration::from_secs(16), "{:?}", asked.elapsed());
    drop(silent);
}
