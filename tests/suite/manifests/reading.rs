//! Reads manifests, dashboards and defaults.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use serde_json::Value;
use vdi_metrics::cli::Cli;

pub(super) const COMPONENT: &str = "app.kubernetes.io/component";

pub(super) fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(super) fn yaml(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder, relative to the root.
pub(super) fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| {
        let path = path.strip_prefix(root()).unwrap().to_owned();
        if path.is_dir() { files(&path.to_string_lossy()) } else { vec![path] }
    });
    below.collect()
}

/// Reads a kustomization as kustomize does, without the transformers: adds its objects, and the files that it uses.
fn build(folder: &str, objects: &mut Vec<Value>, used: &mut BTreeSet<PathBuf>) {
    let file = format!("{folder}/kustomization.yaml");
    let read_before = !used.insert(file.clone().into());
    let kustomization = yaml(&file).remove(0);
    let at = |name: &Value| match text(name).strip_prefix("../") {
        Some(name) => Path::new(folder).parent().unwrap().join(name),
        None => Path::new(folder).join(text(name)),
    };
    let resources = kustomization["resources"].as_array().into_iter().flatten();
    for path in resources.chain(kustomization["components"].as_array().into_iter().flatten()).map(at) {
        match root().join(&path).is_dir() {
            true => build(&path.to_string_lossy(), objects, used),
            false => {
                if !read_before {
                    objects.extend(yaml(&path.to_string_lossy()));
                }
                used.insert(path);
            }
        }
    }
    for generator in kustomization["configMapGenerator"].as_array().into_iter().flatten() {
        for path in list(&generator["files"]).iter().map(at) {
            assert!(root().join(&path).is_file(), "{file}: {}", path.display());
            used.insert(path);
        }
    }
}

pub(super) fn objects() -> Vec<Value> {
    shipped().0
}

/// The objects of the kustomizations that a user applies as they are, and the files that these use.
pub(super) fn shipped() -> (Vec<Value>, BTreeSet<PathBuf>) {
    let (mut objects, mut used) = (vec![], BTreeSet::new());
    for folder in ["manifests", "manifests/node-agent"] {
        build(folder, &mut objects, &mut used);
    }
    (objects, used)
}

pub(super) fn object(kind: &str, name: &str) -> Value {
    let object =
        objects().into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    object.unwrap_or_else(|| panic!("no {kind} {name} in manifests"))
}

pub(super) fn common_labels() -> Value {
    yaml("manifests/labels/kustomization.yaml")[0]["labels"][0]["pairs"].clone()
}

pub(super) fn dashboards() -> Vec<(PathBuf, Value)> {
    let files = files("dashboards").into_iter().filter(|path| path.extension().is_some_and(|e| e == "json"));
    files.map(|path| (path.clone(), serde_json::from_str(&read(&path.to_string_lossy())).unwrap())).collect()
}

pub(super) fn alerts() -> Vec<Value> {
    let rules = object("PrometheusRule", "vdi-metrics");
    list(&rules["spec"]["groups"]).iter().flat_map(|group| list(&group["rules"])).cloned().collect()
}

/// The default value of a flag of `serve`.
pub(super) fn default_of(flag: &str) -> String {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let argument = serve.get_arguments().find(|argument| argument.get_id() == flag).unwrap();
    argument.get_default_values()[0].to_string_lossy().into_owned()
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}
