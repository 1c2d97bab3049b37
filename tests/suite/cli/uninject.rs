//! `uninject` gives back the manifest that `inject` read.

use std::path::Path;

use serde_json::{Value, json};

use super::program::{PodCase, files, folder, pipe, pod_cases, read, values};

/// A pod in each kind of object that can contain one, as YAML and as JSON, in one manifest that ends without a newline.
fn workloads(pod: &Value) -> String {
    let template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
    let of = |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    let deployment = of("apps/v1", "Deployment", json!({"template": template}));
    let cron_job = of("batch/v1", "CronJob", json!({"jobTemplate": {"spec": {"template": template}}}));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod, deployment]});
    let mut texts = vec![];
    for workload in [pod, &deployment, &cron_job, &list] {
        let yaml = serde_saphyr::to_string(workload).unwrap();
        texts.extend([workload.to_string(), serde_json::to_string_pretty(workload).unwrap()]);
        texts.extend([yaml.trim_end().replace('\n', "\r\n"), yaml.trim_end().to_owned()]);
    }
    texts.join("\n---\n")
}

/// Injects and uninjects `text`, compares, and counts the sidecars in between.
fn round_trip(inject: &[&str], text: &str, name: &Path) -> usize {
    let injected = pipe(inject, text);
    let after = pipe(&["uninject", "-"], &injected);
    assert_eq!(values(&after), values(text), "{}", name.display());
    assert_eq!(after, text, "{}", name.display());
    injected.matches("- name: vdi-metrics").count() + injected.matches("\"name\": \"vdi-metrics\"").count()
}

#[test]
fn uninject_after_inject_gives_back_every_byte() {
    let mut sidecars = 0;
    // The namespace's objects are left out; they would be in the output.
    for PodCase { pod, arguments } in
        pod_cases().into_iter().filter(|case| !case.pod.ends_with("already-injected.yaml"))
    {
        let config: Vec<_> =
            arguments.iter().map(String::as_str).filter(|path| !path.ends_with(".namespace.yaml")).collect();
        let inject = [&["inject", "-"], &config[..]].concat();
        let text = read(&pod);
        round_trip(&inject, &text, &pod);
        sidecars += round_trip(&inject, &workloads(&values(&text)[0]), &pod);
    }
    assert!(sidecars > 500, "{sidecars}");
    // The others have the sidecar already, or documents that must be rewritten or cannot be read.
    let without = ["injected.yaml", "namespaces.yaml", "shared.yaml"];
    let is_readable = |path: &Path| read(&path.with_extension("inject.golden.txt")).starts_with("# exit 0\n");
    for path in files("tests/cli", false) {
        if without.iter().any(|name| path.ends_with(name)) || !is_readable(&path) {
            continue;
        }
        for text in [read(&path), read(&path).replace('\n', "\r\n")] {
            let injected = pipe(&["inject", "-"], &text);
            assert_eq!(pipe(&["uninject", "-"], &injected), text, "{}", path.display());
        }
    }
}

#[test]
fn a_rewritten_document_keeps_its_values() {
    let text = read(&folder("tests/cli/shared.yaml"));
    let injected = pipe(&["inject", "-"], &text);
    assert_eq!(values(&pipe(&["uninject", "-"], &injected)), values(&text));
    assert!(!injected.contains("# shared") && injected.contains("# kept"));
}

/// The pod has a null field, whose record needs more bytes than the annotations have left.
#[test]
fn the_record_of_empty_fields_respects_the_limit_of_annotations() {
    let limit = 262_144;
    let written = |free: usize| {
        let filler = "x".repeat(limit - "filler".len() - free);
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "desktop", "annotations": {"filler": filler}},
            "spec": {"containers": [{"name": "desktop", "image": "d"}], "initContainers": null},
        });
        values(&pipe(&["inject", "-"], &pod.to_string()))[0]["metadata"]["annotations"].clone()
    };
    for (free, is_recorded) in [(100, false), (200, true)] {
        let annotations = written(free);
        let annotations = annotations.as_object().unwrap();
        let bytes: usize =
            annotations.iter().map(|(key, value)| key.len() + value.as_str().unwrap().len()).sum();
        assert!(bytes <= limit, "{bytes}");
        assert_eq!(annotations["vdi-metrics.io/status"], "injected", "{free}");
        assert_eq!(annotations.contains_key("vdi-metrics.io/restore"), is_recorded, "{free}");
    }
}
