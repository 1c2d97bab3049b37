//! `inject` gives what the webhook gives.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vdi_metrics::contract::key;

use super::program::{PodCase, folder, pipe, pod_cases, read, run, values};

/// Removes the annotation that `inject` writes for `uninject`. The webhook does not write it.
fn take_restore_note(pod: &mut Value) -> Option<Value> {
    pod["metadata"].get_mut("annotations")?.as_object_mut()?.remove(key::RESTORE)
}

fn inject_arguments<'c>(case: &'c PodCase, options: &[&'c str]) -> Vec<&'c str> {
    let arguments = case.arguments.iter().map(String::as_str);
    ["inject", "-"].into_iter().chain(options.iter().copied()).chain(arguments).collect()
}

#[test]
fn inject_gives_the_same_pod_and_warnings_as_the_webhook() {
    for case in pod_cases() {
        let path = case.pod.display();
        let text = read(&case.pod);
        let finished = run(&inject_arguments(&case, &["-o", "json"]), text.as_bytes());
        let mut documents = serde_json::Deserializer::from_str(&finished.stdout).into_iter::<Value>();
        let mut pod = documents.next().unwrap().unwrap();
        let (note, input) = (take_restore_note(&mut pod), &values(&text)[0]);
        let golden = read(&case.pod.with_extension("golden.yaml"));
        let mut expected = values(&golden).remove(0);
        let hash = pod.pointer("/metadata/annotations/vdi-metrics.io~1config").cloned();
        if let (Some(recorded), Some(hash)) =
            (expected.pointer_mut("/metadata/annotations/vdi-metrics.io~1config"), hash)
        {
            *recorded = hash;
        }
        let secrets = expected["spec"]["imagePullSecrets"] != input["spec"]["imagePullSecrets"];
        if secrets {
            expected["spec"]["imagePullSecrets"] = input["spec"]["imagePullSecrets"].clone();
        }
        assert_eq!(pod, expected, "{path}");
        assert_eq!(
            finished.stderr.contains("pull secrets are left out"),
            secrets,
            "{path}: {}",
            finished.stderr
        );

        let prefix = if case.arguments.iter().any(|argument| argument.ends_with(".namespace.yaml")) {
            "standard input: "
        } else {
            ""
        };
        let lines =
            finished.stderr.lines().filter_map(|line| line.strip_prefix(prefix)?.strip_prefix("pod/"));
        let mut report = lines
            .map(|line| line.split_once(": ").unwrap().1)
            .filter(|line| !line.starts_with("pull secrets"));
        let decision = golden.lines().next().unwrap().strip_prefix("# decision: ").unwrap();
        assert_eq!(report.next(), Some(decision), "{path}");
        // The warnings are compared as a set: the webhook's pod had its keys sorted, which changes their order.
        let warnings: BTreeSet<_> =
            golden.lines().filter_map(|line| line.strip_prefix("# warning: ")).collect();
        assert_eq!(report.collect::<BTreeSet<_>>(), warnings, "{path}");

        let empty = [json!({}), json!([]), json!(null)];
        let fields = ["/metadata/labels", "/metadata/annotations", "/spec/initContainers", "/spec/volumes"];
        let has_empty =
            fields.iter().any(|field| input.pointer(field).is_some_and(|value| empty.contains(value)));
        assert!(note.is_none() || has_empty, "{path}: a restore annotation without a reason");
    }
}

#[test]
fn inject_keeps_every_line_of_a_manifest() {
    let text = read(&folder("tests/cli/deployment.yaml"));
    let injected = pipe(&["inject", "-"], &text);
    assert!(injected.contains("- name: vdi-metrics"));
    let mut lines = injected.lines();
    // The labels are in brackets; the sidecar's label is added to that line.
    for line in text.lines().filter(|line| !line.contains("app: cad")) {
        assert!(lines.any(|written| written == line), "{line}");
    }
    let not_a_pod = text.replace("kind: Deployment", "kind: Rollout");
    assert_eq!(pipe(&["inject", "-"], &not_a_pod), not_a_pod);
}

#[test]
fn only_the_server_adds_pull_secrets() {
    let pod = read(&folder("tests/pods/pull-secrets.yaml"))
        .replace("metadata: {", "metadata: {labels: {vdi-metrics.io/inject: enabled}, ");
    let config = folder("tests/pods/pull-secrets.config.yaml");
    let explained = run(&["explain", "-", "--config", config.to_str().unwrap()], pod.as_bytes());
    assert!(
        explained.stdout.contains("  pull secrets: vdi-registry\n"),
        "{}{}",
        explained.stdout,
        explained.stderr
    );
    let injected = pipe(&["inject", "-", "--config", config.to_str().unwrap()], &pod);
    assert!(injected.contains("imagePullSecrets: [{name: own}]\n"), "{injected}");
}
