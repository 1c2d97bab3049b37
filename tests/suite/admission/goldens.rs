//! Each pod in `tests/pods` against its golden file, and properties that hold for each of them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use vdi_metrics::{
    admission::settings::ScrapeAnnotations,
    contract::{CONTAINER, key},
};

use super::case::{Case, patched};

fn cases() -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pods");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.file_stem().unwrap().to_string_lossy().contains('.'));
    files.sort();
    assert!(!files.is_empty());
    files.into_iter().map(Case::read).collect()
}

#[test]
fn every_pod_has_its_golden_answer() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut golden_files = BTreeSet::new();
    for case in cases() {
        let Case { path, pod, injector, .. } = &case;
        let response = case.response(pod);
        let decision = response["auditAnnotations"]["decision"].as_str().unwrap();
        let warnings: Vec<_> = response["warnings"].as_array().into_iter().flatten().collect();
        let warnings: String =
            warnings.iter().map(|w| format!("# warning: {}\n", w.as_str().unwrap())).collect();
        let after = serde_saphyr::to_string(&patched(pod, &response)).unwrap();
        // The hash changes with every change of the settings; only its position matters here.
        let after = after.replace(injector.hash(), "HASH");
        let actual = format!("# decision: {decision}\n{warnings}{after}");
        let golden = path.with_extension("golden.yaml");
        if bless {
            fs::write(&golden, &actual).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(actual, expected, "{} differs; BLESS=1 rewrites it", golden.display());
        golden_files.insert(golden);
    }
    let folder = golden_files.first().unwrap().parent().unwrap();
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let stale: Vec<_> = all.filter(|path| is_stale(path, &golden_files)).collect();
    assert!(stale.is_empty(), "files without a pod: {stale:?}");
}

/// Whether the file belongs to a pod that does not exist.
fn is_stale(path: &Path, golden_files: &BTreeSet<PathBuf>) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let Some((pod, _)) = name.split_once('.') else { return false };
    !golden_files.contains(&path.with_file_name(format!("{pod}.golden.yaml")))
}

#[test]
fn a_second_injection_changes_nothing() {
    for case in cases() {
        let once = case.inject(&case.pod);
        assert_eq!(case.inject(&once), once, "{}", case.path.display());
    }
}

#[test]
fn injection_changes_nothing_else_in_the_pod() {
    for case in cases() {
        let response = case.response(&case.pod);
        let mut after = patched(&case.pod, &response);
        match response["auditAnnotations"]["decision"].as_str().unwrap() {
            "injected" => remove_sidecar(&mut after, &case),
            "skipped: already_injected" => {}
            _ => remove_keys(&mut after, "annotations", &[key::STATUS]),
        }
        assert_eq!(without_empty(after), without_empty(case.pod), "{}", case.path.display());
    }
}

fn remove_sidecar(pod: &mut Value, case: &Case) {
    for list in ["initContainers", "containers", "volumes"] {
        if let Some(items) = pod["spec"][list].as_array_mut() {
            items.retain(|item| item["name"] != CONTAINER);
        }
    }
    let secrets = &case.injector.settings().sidecar.image_pull_secrets;
    if let Some(items) = pod["spec"]["imagePullSecrets"].as_array_mut() {
        let own = case.pod["spec"]["imagePullSecrets"].as_array().map_or(0, Vec::len);
        assert!(items.drain(own..).all(|item| secrets.iter().any(|secret| item["name"] == **secret)));
    }
    remove_keys(pod, "labels", &[key::INJECTED]);
    remove_keys(pod, "annotations", &[key::STATUS, key::CONFIG]);
    if case.injector.settings().scrape_annotations == ScrapeAnnotations::Auto
        && case.pod["metadata"]["annotations"]["prometheus.io/scrape"].is_null()
    {
        remove_keys(
            pod,
            "annotations",
            &["scrape", "port", "path"].map(|key| format!("prometheus.io/{key}")),
        );
    }
}

fn remove_keys(pod: &mut Value, map: &str, keys: &[impl AsRef<str>]) {
    if let Some(entries) = pod["metadata"][map].as_object_mut() {
        entries.retain(|key, _| keys.iter().all(|removed| removed.as_ref() != key));
    }
}

/// Removes empty lists and maps: for the API server absent, null and empty are the same.
fn without_empty(mut pod: Value) -> Value {
    for (parent, field) in [
        ("metadata", "labels"),
        ("metadata", "annotations"),
        ("spec", "initContainers"),
        ("spec", "volumes"),
        ("spec", "imagePullSecrets"),
    ] {
        let value = &pod[parent][field];
        let empty = value.is_null() || *value == json!([]) || *value == json!({});
        if let (true, Some(parent)) = (empty, pod[parent].as_object_mut()) {
            parent.remove(field);
        }
    }
    pod
}
