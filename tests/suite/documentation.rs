//! The README, the architecture page and the GPU page agree with the code.

use std::{fs, path::Path};

#[test]
fn the_readme_explains_every_reason() {
    let readme = read("README.md");
    for reason in vdi_metrics::admission::SkipReason::ALL {
        assert!(readme.contains(&format!("`{}`", reason.as_str())), "{}", reason.as_str());
    }
}

#[test]
fn the_gpu_page_explains_every_label_value() {
    use vdi_metrics::{
        node::{OwnerKind, snapshot::MappingFailure},
        sampling::counters::IdleReason,
        sidecar::attribution::{Confidence, NotApplicable, Scope, Sharing, Strategy, UnavailableReason},
    };

    let page = read("docs/gpu.md");
    for value in Confidence::ALL {
        assert!(page.contains(&format!("`{}`", value.as_str())), "{}", value.as_str());
    }
    let values = [
        NotApplicable::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>(),
        UnavailableReason::ALL.iter().map(|value| value.as_str()).collect(),
        Sharing::ALL.iter().map(|value| value.as_str()).collect(),
        Strategy::ALL.iter().map(|value| value.as_str()).collect(),
        OwnerKind::ALL.iter().map(|value| value.as_str()).collect(),
        MappingFailure::ALL.iter().map(|value| value.as_str()).collect(),
        IdleReason::ALL.iter().map(|value| value.as_str()).collect(),
    ];
    for value in values.concat() {
        assert!(page.contains(&format!("\n| `{value}` |")), "{value} has no row");
    }
    for scope in Scope::ALL {
        assert!(page.contains(&format!("`scope=\"{}\"`", scope.as_str())), "{}", scope.as_str());
    }
}

#[test]
fn the_page_about_the_servers_metrics_explains_every_result_of_a_check() {
    let page = read("docs/server-metrics.md");
    for result in vdi_metrics::metrics_access::CheckResult::ALL {
        assert!(page.contains(&format!("\n| `{}` |", result.as_str())), "{} has no row", result.as_str());
    }
}

#[test]
fn the_security_page_explains_every_reason_for_the_end_of_a_connection() {
    let page = read("docs/security.md");
    for reason in vdi_metrics::runtime::https::metrics::CloseReason::ALL {
        assert!(page.contains(&format!("\n| `{}` |", reason.as_str())), "{} has no row", reason.as_str());
    }
}

#[test]
fn the_page_about_the_breaker_explains_every_reason() {
    let page = read("docs/breaker.md");
    for reason in vdi_metrics::breaker::BlockReason::ALL {
        assert!(page.contains(&format!("\n| `{}` |", reason.as_str())), "{} has no row", reason.as_str());
    }
}

#[test]
fn the_presence_page_explains_every_metric_and_label_value() {
    use vdi_metrics::presence::{
        catalogue::ROWS,
        vocabulary::{PassedReason, PresenceConfidence, PresenceSource, Transport},
    };

    let page = read("docs/presence.md");
    let sources = PresenceSource::ALL.iter().map(|value| value.as_str());
    for value in sources.chain(PassedReason::ALL.iter().map(|value| value.as_str())) {
        assert!(page.contains(&format!("\n| `{value}` |")), "{value} has no row");
    }
    let confidences = PresenceConfidence::ALL.iter().map(|value| value.as_str());
    let transports = Transport::ALL.iter().map(|value| value.as_str());
    for name in confidences.chain(transports).chain(ROWS.iter().map(|row| row.name)) {
        assert!(page.contains(&format!("`{name}`")) || page.contains(&format!("=\"{name}\"`")), "{name}");
    }
}

#[test]
fn the_session_page_explains_every_label_value() {
    use vdi_metrics::{
        coverage::NoSidecarReason,
        sessions::{
            ledger::{DeviceSource, EndReason, PendingReason, Phase, RestartReason, Stage},
            replica::metrics::{EventResult, EventSource, Interruption, SaveResult},
            usage::MissingReason,
        },
    };

    let page = read("docs/sessions.md");
    let section = |title: &str| {
        let section = page.split("\n## ").find(|section| section.starts_with(title));
        section.unwrap_or_else(|| panic!("docs/sessions.md has no section {title}"))
    };
    // A device of a claim is shown by its claim.
    let shown_sources = DeviceSource::ALL.into_iter().filter(|source| *source != DeviceSource::ClaimDevice);
    let values = [
        ("Phases", Phase::ALL.map(Phase::as_str).to_vec()),
        ("How a session ends", EndReason::ALL.map(EndReason::as_str).to_vec()),
        ("Pending sessions", PendingReason::ALL.map(PendingReason::as_str).to_vec()),
        ("Stages of the start", Stage::ALL.map(Stage::as_str).to_vec()),
        ("Restarts", RestartReason::ALL.map(RestartReason::as_str).to_vec()),
        ("Usage", MissingReason::ALL.map(MissingReason::as_str).to_vec()),
        ("Exactly once", EventSource::ALL.map(EventSource::as_str).to_vec()),
        ("Exactly once", EventResult::ALL.map(EventResult::as_str).to_vec()),
        ("Exactly once", Interruption::ALL.map(Interruption::as_str).to_vec()),
        ("Exactly once", SaveResult::ALL.map(SaveResult::as_str).to_vec()),
        ("Which GPU a session has", shown_sources.map(DeviceSource::as_str).collect()),
        ("Pods without a sidecar", NoSidecarReason::ALL.map(NoSidecarReason::as_str).to_vec()),
    ];
    for (title, values) in values {
        for value in values {
            assert!(section(title).contains(&format!("\n| `{value}` |")), "{title}: {value} has no row");
        }
    }
    for reason in EndReason::ALL {
        let answer = if reason.is_failure() { "yes" } else { "no" };
        let row = format!("\n| `{}` | {answer} |", reason.as_str());
        assert!(section("How a session ends").contains(&row), "{} is a failure: {answer}", reason.as_str());
    }
}

#[test]
fn the_runbook_of_failures_explains_every_reason() {
    use vdi_metrics::sessions::ledger::EndReason;

    let page = read("docs/runbooks/VDISessionFailures.md");
    for reason in EndReason::ALL {
        let has_row = page.contains(&format!("\n| `{}` |", reason.as_str()));
        assert_eq!(has_row, reason.is_failure(), "{}", reason.as_str());
    }
}

#[test]
fn the_gpu_page_lists_the_locations_of_the_library() {
    use std::path::PathBuf;

    let page = read("docs/gpu.md");
    let table = page.split("### Where the library is searched").nth(1).unwrap();
    let table = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = table.take_while(|line| line.starts_with('|'));
    let folders = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let paths = folders.filter(|folder| folder.starts_with('/'));
    let documented: Vec<_> = paths.map(|folder| Path::new(folder).join("libnvidia-ml.so.1")).collect();
    let searched = vdi_metrics::gpu::library_locations(Path::new("/"));
    assert_eq!(searched[0], PathBuf::from("libnvidia-ml.so.1"), "the loader comes first");
    assert_eq!(searched[1..], documented[..]);
}

/// Compares with `docs/metrics.md`, which is generated from the catalogues.
#[test]
fn the_readme_shows_only_metrics_and_labels_that_exist() {
    let (readme, page) = (read("README.md"), read("docs/metrics.md"));
    let mut series = 0;
    for line in readme.lines().filter(|line| line.starts_with("vdi_")) {
        let (metric, labels) = line.split_once('{').unwrap_or_else(|| panic!("{line}: no labels"));
        let row = page.lines().find(|row| row.starts_with(&format!("| `{metric}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/metrics.md has no row for {metric}"));
        for label in labels.split('}').next().unwrap_or_default().split(',') {
            let label = label.split('=').next().unwrap_or_default();
            assert!(row.contains(&format!("`{label}`")), "{metric} has no label {label}");
        }
        series += 1;
    }
    assert!(series > 4, "the README shows {series} series");
}

/// Paths are relative to the repository or to `src/`. Names with `*`, `{}`, `<>` or `NAME` are patterns.
#[test]
fn every_file_that_the_architecture_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = read("ARCHITECTURE.md");
    let names = page.split('`').skip(1).step_by(2).map(|code| code.split("::").next().unwrap_or_default());
    let is_path = |name: &&str| {
        name.contains('/')
            && name.contains('.')
            && !name.contains(['*', '{', '<', ' ', ':'])
            && !name.contains("NAME")
            || name.ends_with(".rs") && !name.contains(['<', '*'])
    };
    let is_key = |name: &str| name.starts_with("vdi-metrics.io/") || name.starts_with("openshift.io/");
    let paths: Vec<&str> = names.filter(is_path).filter(|name| !is_key(name)).collect();
    for path in &paths {
        let exists = [root.join(path), root.join("src").join(path)].iter().any(|path| path.exists());
        assert!(exists, "ARCHITECTURE.md names {path}");
    }
    assert!(paths.len() > 40, "{} paths", paths.len());
}

#[test]
fn the_architecture_page_has_a_row_for_every_module() {
    let page = read("ARCHITECTURE.md");
    let modules = read("src/lib.rs");
    for module in modules.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        assert!(page.contains(&format!("\n| `{module}` |")), "{module} has no row");
    }
}

fn read(page: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap()
}
