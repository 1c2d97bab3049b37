//! The first poll of every scenario gives the exposition in its golden file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fake_nvml::Scenario;
use kit::http;
use vdi_metrics::{
    contract::{METRICS_PATH, env},
    runtime::{REVISION, VERSION},
};

use super::{pod_fixture::PodFixture, running_sidecar::*};

#[test]
fn every_scenario_gives_its_golden_exposition() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let named = |extension: &str| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|it| it == extension) && !is_pod_fixture(path));
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

/// Whether the file is `NAME.container.json`, the pod's files for the scenario `NAME.json`.
fn is_pod_fixture(path: &Path) -> bool {
    path.to_str().unwrap().ends_with(".container.json")
}

/// The exposition after the first poll of a scenario, with the values that change from run to run masked.
fn exposition_of(scenario: &Path) -> String {
    let pod = fs::read_to_string(scenario.with_extension("container.json"));
    let pod = pod.map_or_else(|_| PodFixture::default(), |text| serde_json::from_str(&text).unwrap());
    let sidecar = RunningSidecar::start_in_pod(
        &pod,
        &Scenario::read(scenario).unwrap(),
        &[(env::SESSION, "alice-7"), (env::TEMPLATE, "cad-workstation"), (env::POOL, "berlin")],
    );
    sidecar.first_poll();
    let text = http::get(sidecar.address, METRICS_PATH).unwrap().body;
    // Help texts are compared once, in `reference.rs`.
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
fn a_session_has_at_most_41_series_and_48_on_a_shared_card() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let series = |name: &str| {
        let golden = fs::read_to_string(folder.join(format!("{name}.prom"))).unwrap();
        // Presence has a limit of its own.
        let series = golden.lines().filter(|line| !line.starts_with('#') && !line.contains("_presence_"));
        series.count()
    };
    // This card is not shared, supports every value, has captures, and has visible processes.
    assert!(series("everything_supported") <= 41, "{}", series("everything_supported"));
    // A shared card has a second scope for the session's own processes, and four strategies that do not apply.
    assert!(series("processes") <= 48, "{}", series("processes"));
}
