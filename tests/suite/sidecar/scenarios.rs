//! What the first read of each scenario makes, to the letter.

use super::*;

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
    let container =
        container.map_or_else(|_| Container::default(), |text| serde_json::from_str(&text).unwrap());
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
    // A card of its own that has everything, a capture too, with processes to be seen.
    assert!(series("everything_supported") <= 40, "{}", series("everything_supported"));
    // A shared one has a second scope for what the session's own processes have of it, and three rungs are passed over.
    assert!(series("processes") <= 46, "{}", series("processes"));
}
