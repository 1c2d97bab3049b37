//! Input files of the command line: which files are read; types and order are kept.

use serde_json::{Value, json};

use super::program::{folder, pipe, read, run, values};

#[test]
fn json_and_back_keeps_types_and_order() {
    let text = read(&folder("tests/cli/deployment.yaml"));
    let json = pipe(&["uninject", "-", "-o", "json"], &text);
    let position = |key: &str| json.find(&format!("\"{key}\"")).unwrap_or_else(|| panic!("{key}: {json}"));
    let order =
        ["apiVersion", "kind", "metadata", "spec", "replicas", "template", "containers", "image", "command"];
    assert!(order.map(position).is_sorted(), "{json}");
    for line in [
        r#""replicas": 2,"#,
        r#""revisionHistoryLimit": 10,"#,
        r#""version": "1.10""#,
        r#""big": 123456789012345678901234567890,"#,
        r##""# no comment\necho \"  kept\"\n\n  as it is\n""##,
    ] {
        assert!(json.contains(line), "{line}: {json}");
    }
    // kubectl reads the same values.
    let document: Value = serde_json::from_str(&json).unwrap();
    let words = &document["spec"]["template"]["spec"]["words"];
    assert_eq!(*words, json!([true, "yes", false, null, null, 1.5, 1e3, 511, "0777", "2026-11-24"]));
    let yaml = pipe(&["uninject", "-", "-o", "yaml"], &json);
    assert_eq!(pipe(&["uninject", "-", "-o", "json"], &yaml), json, "{yaml}");
    assert!(yaml.starts_with("apiVersion: apps/v1\nkind: Deployment\n"));
    assert!(yaml.contains("- |\n          # no comment\n"), "{yaml}");
}

#[test]
fn several_files_become_one_stream() {
    let finished = run(
        &["inject", "empty-fields.yaml", "-", "list.json"],
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}",
    );
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(values(&finished.stdout).len(), 5, "{}", finished.stdout);
    for line in [
        "empty-fields.yaml: pod/empty-fields: injected",
        "standard input: configmap/x: not a pod",
        "list.json: pod/bob: injected",
    ] {
        assert!(finished.stderr.lines().any(|reported| reported == line), "{line}: {}", finished.stderr);
    }
    let json = pipe(&["inject", "empty-fields.yaml", "list.json", "-o", "json"], "");
    let documents = serde_json::Deserializer::from_str(&json).into_iter::<Value>();
    assert_eq!(documents.map(Result::unwrap).count(), 4);
}

/// Names of the files in a report, in order, without repetition.
fn files_in_report(report: &str) -> Vec<&str> {
    let mut files: Vec<_> = report.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    files.dedup();
    files
}

#[test]
fn files_are_read_in_the_order_of_the_command_line() {
    let input = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n";
    for arguments in [
        ["-f", "empty-fields.yaml", "-", "--filename", "list.json"],
        ["empty-fields.yaml", "-f", "-", "-f", "list.json"],
        ["--filename", "empty-fields.yaml", "-", "-f", "list.json"],
    ] {
        for verb in ["inject", "uninject"] {
            let finished = run(&[&[verb], &arguments[..]].concat(), input.as_bytes());
            assert_eq!(finished.code, 0, "{arguments:?}: {}", finished.stderr);
            let files = files_in_report(&finished.stderr);
            assert_eq!(files, ["empty-fields.yaml", "standard input", "list.json"], "{arguments:?}");
        }
    }
    let explained = run(&["explain", "list.json", "-f", "empty-fields.yaml", "-o", "json"], b"");
    assert_eq!(explained.code, 3, "{}", explained.stderr);
    let explanations: Value = serde_json::from_str(&explained.stdout).unwrap();
    let objects: Vec<_> = explanations.as_array().unwrap().iter().map(|pod| &pod["object"]).collect();
    assert_eq!(
        objects,
        ["pod/alice", "pod/bob", "pod/empty-fields", "job/empty-metadata", "pod/in-brackets"]
    );
}

#[test]
fn the_filename_option_alone_is_enough() {
    let manifest = read(&folder("tests/cli/list.json"));
    for verb in ["inject", "uninject", "explain"] {
        let by_argument = run(&[verb, "-"], manifest.as_bytes());
        for arguments in [[verb, "-f", "-"], [verb, "--filename", "-"], [verb, "-f", "list.json"]] {
            let by_option = run(&arguments, manifest.as_bytes());
            assert_eq!(by_option.code, by_argument.code, "{}", by_option.stderr);
            assert_eq!(by_option.stdout, by_argument.stdout);
        }
    }
}

#[test]
fn the_manifests_of_a_folder_are_read_in_the_order_of_their_names() {
    let temporary = tempfile::tempdir().unwrap();
    let manifest = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    for name in ["b.yml", "a.json", "c.yaml", ".d.yaml", "e.txt", "f.YAML", "g.yaml~"] {
        std::fs::write(temporary.path().join(name), manifest(name)).unwrap();
    }
    let inner = temporary.path().join("inner.yaml");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("x.yaml"), manifest("x")).unwrap();
    let folder = temporary.path().to_str().unwrap();
    for verb in ["inject", "uninject"] {
        let finished = run(&[verb, "-f", folder], b"");
        let expected = [".d.yaml", "a.json", "b.yml", "c.yaml"].map(manifest).join("---\n");
        assert_eq!((finished.code, finished.stdout), (0, expected), "{}", finished.stderr);
        assert!(finished.stderr.contains("/b.yml: configmap/b.yml: not a pod"), "{}", finished.stderr);
    }
}

/// As in kubectl. Bytes that a YAML reader rejects stay as they are.
#[test]
fn every_json_string_is_read_and_kept() {
    for (string, value) in [
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ude00\ud83dx""#, "\u{fffd}\u{fffd}x"),
        (r#""\ud83d\ud83d\ude00\\ud83d""#, "\u{fffd}\u{1f600}\\ud83d"),
        (r#""\ufffe\u0000\"\/\b\f\n\r\t""#, "\u{fffe}\0\"/\u{8}\u{c}\n\r\t"),
        ("\"\u{7f}\u{85}\u{2028}\u{fffe}\u{feff}{[\"", "\u{7f}\u{85}\u{2028}\u{fffe}\u{feff}{["),
    ] {
        let manifest = format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "x", "annotations": {{{string}: {string}}}}}, "spec": {{"containers": []}}}}"#
        );
        let injected = pipe(&["inject", "-"], &manifest);
        assert!(injected.contains(&format!("{string}: {string}")), "{injected}");
        assert_eq!(pipe(&["uninject", "-"], &injected), manifest);
        let json: Value = serde_json::from_str(&pipe(&["inject", "-", "-o", "json"], &manifest)).unwrap();
        assert_eq!(json["metadata"]["annotations"][value], value, "{json}");
        let yaml = pipe(&["inject", "-", "-o", "yaml"], &manifest);
        let read: Value = serde_json::from_str(&pipe(&["inject", "-", "-o", "json"], &yaml)).unwrap();
        assert_eq!(read, json, "{yaml}");
    }
}

#[test]
fn utf_16_is_read_and_written_as_utf_8() {
    let text = "\u{feff}apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \u{1f600}}\n";
    for unit in [u16::to_le_bytes, u16::to_be_bytes] {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(unit).collect();
        let finished = run(&["inject", "-"], &bytes);
        assert_eq!(
            (finished.code, &*finished.stdout),
            (0, text.trim_start_matches('\u{feff}')),
            "{}",
            finished.stderr
        );
    }
}

/// Every joined stream is read again by the program, and has all documents.
#[test]
fn a_stream_of_several_files_can_be_read_again() {
    let files =
        ["json-stream.json", "list.json", "byte-order-marks.yaml", "indented.yaml", "json-then-yaml.yaml"];
    let documents = |text: &str| {
        let json = pipe(&["uninject", "-", "-o", "json"], text);
        serde_json::Deserializer::from_str(&json).into_iter::<Value>().map(Result::unwrap).collect::<Vec<_>>()
    };
    for first in files {
        for second in files {
            let expected = documents(&pipe(&["uninject", first, second, "-o", "json"], ""));
            for format in [&[][..], &["-o", "yaml"]] {
                let finished = run(&[&["inject", first, second], format].concat(), b"");
                assert_eq!(finished.code, 0, "{first} {second}: {}", finished.stderr);
                assert_eq!(documents(&finished.stdout), expected, "{first} {second}");
            }
        }
    }
}
