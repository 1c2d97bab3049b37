//! The verbs on files, as the real program does them.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use vdi_metrics::{
    admission::{Injector, Settings, SkipReason},
    contract::key,
};

/// What a run of the program leaves.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(arguments: &[&str], stdin: &[u8]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vdi-metrics"));
    command.env_clear().args(arguments).current_dir(folder("tests/cli"));
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_owned();
    // Not every verb reads it.
    let writer = std::thread::spawn(move || _ = input.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The output of a run that must go well.
fn pipe(arguments: &[&str], input: &str) -> String {
    let ended = run(arguments, input.as_bytes());
    assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
    ended.stdout
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(name: &str, golden: bool) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().contains(".golden.") == golden);
    files.sort();
    assert!(golden || !files.is_empty());
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// Values, as any other reader has them.
fn values(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn every_manifest_has_its_golden_output_and_report() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut expected = BTreeSet::new();
    for input in files("tests/cli", false) {
        let text = read(&input);
        let options = text.lines().next().unwrap().strip_prefix("# explain: ").unwrap_or_default();
        let explain: Vec<_> = ["explain", "-"].into_iter().chain(options.split_whitespace()).collect();
        for (verb, arguments) in
            [("inject", vec!["inject", "-"]), ("uninject", vec!["uninject", "-"]), ("explain", explain)]
        {
            let Ended { code, stdout, stderr } = run(&arguments, text.as_bytes());
            let report: String = stderr.lines().map(|line| format!("# {line}\n")).collect();
            let golden = input.with_extension(format!("{verb}.golden.txt"));
            let hash = Injector::new(Settings::default()).hash().to_owned();
            let found = format!("# exit {code}\n{report}{stdout}").replace(&hash, "HASH");
            if bless {
                fs::write(&golden, &found).unwrap();
            }
            let wanted = fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(found, wanted, "{} differs; BLESS=1 writes it anew", golden.display());
            expected.insert(golden);
        }
    }
    let stale: Vec<_> =
        files("tests/cli", true).into_iter().filter(|path| !expected.contains(path)).collect();
    assert!(stale.is_empty(), "golden files without a manifest: {stale:?}");
}

/// Takes the note for `uninject` out of a pod; it is the one thing that the webhook does not write.
fn without_note(pod: &mut Value) -> Option<Value> {
    pod["metadata"].get_mut("annotations")?.as_object_mut()?.remove(key::RESTORE)
}

/// A pod of `tests/pods`, with the arguments for its configuration and what its namespace holds.
struct Case {
    pod: PathBuf,
    arguments: Vec<String>,
}

fn cases() -> Vec<Case> {
    let pods = files("tests/pods", false);
    let pods = pods.into_iter().filter(|path| !path.file_stem().unwrap().to_string_lossy().contains('.'));
    let beside = |pod: &Path, what: &str| {
        let path = pod.with_extension(format!("{what}.yaml"));
        path.exists().then(|| path.to_str().unwrap().to_owned())
    };
    let case = |pod: PathBuf| {
        let config = beside(&pod, "config").map(|path| vec!["--config".to_owned(), path]).unwrap_or_default();
        let arguments = beside(&pod, "namespace").into_iter().chain(config).collect();
        Case { pod, arguments }
    };
    pods.map(case).collect()
}

// === impl Case ===

impl Case {
    fn inject<'c>(&'c self, more: &[&'c str]) -> Vec<&'c str> {
        let arguments = self.arguments.iter().map(String::as_str);
        ["inject", "-"].into_iter().chain(more.iter().copied()).chain(arguments).collect()
    }
}

#[test]
fn inject_is_the_webhook_on_a_file() {
    for case in cases() {
        let path = case.pod.display();
        let text = read(&case.pod);
        let ended = run(&case.inject(&["-o", "json"]), text.as_bytes());
        let mut documents = serde_json::Deserializer::from_str(&ended.stdout).into_iter::<Value>();
        let mut pod = documents.next().unwrap().unwrap();
        let (note, input) = (without_note(&mut pod), &values(&text)[0]);
        let golden = read(&case.pod.with_extension("golden.yaml"));
        let mut expected = values(&golden).remove(0);
        let hash = pod.pointer("/metadata/annotations/vdi-metrics.io~1config").cloned();
        if let (Some(word), Some(hash)) =
            (expected.pointer_mut("/metadata/annotations/vdi-metrics.io~1config"), hash)
        {
            *word = hash;
        }
        let secrets = expected["spec"]["imagePullSecrets"] != input["spec"]["imagePullSecrets"];
        if secrets {
            expected["spec"]["imagePullSecrets"] = input["spec"]["imagePullSecrets"].clone();
        }
        assert_eq!(pod, expected, "{path}");
        assert_eq!(ended.stderr.contains("pull secrets are left out"), secrets, "{path}: {}", ended.stderr);

        let prefix = if case.arguments.iter().any(|argument| argument.ends_with(".namespace.yaml")) {
            "standard input: "
        } else {
            ""
        };
        let lines = ended.stderr.lines().filter_map(|line| line.strip_prefix(prefix)?.strip_prefix("pod/"));
        let mut report = lines
            .map(|line| line.split_once(": ").unwrap().1)
            .filter(|line| !line.starts_with("pull secrets"));
        let decision = golden.lines().next().unwrap().strip_prefix("# decision: ").unwrap();
        assert_eq!(report.next(), Some(decision), "{path}");
        // The webhook's pod came with its keys sorted.
        let warnings: BTreeSet<_> =
            golden.lines().filter_map(|line| line.strip_prefix("# warning: ")).collect();
        assert_eq!(report.collect::<BTreeSet<_>>(), warnings, "{path}");

        let void = [json!({}), json!([]), json!(null)];
        let places = ["/metadata/labels", "/metadata/annotations", "/spec/initContainers", "/spec/volumes"];
        let noted = places.iter().any(|place| input.pointer(place).is_some_and(|value| void.contains(value)));
        assert!(note.is_none() || noted, "{path}: a note without a reason");
    }
}

/// A pod in everything that can hold one, as YAML and as JSON, in one manifest that ends without a newline.
fn holders(pod: &Value) -> String {
    let template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
    let of = |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    let deployment = of("apps/v1", "Deployment", json!({"template": template}));
    let cron_job = of("batch/v1", "CronJob", json!({"jobTemplate": {"spec": {"template": template}}}));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod, deployment]});
    let mut texts = vec![];
    for holder in [pod, &deployment, &cron_job, &list] {
        let yaml = serde_saphyr::to_string(holder).unwrap();
        texts.extend([holder.to_string(), serde_json::to_string_pretty(holder).unwrap()]);
        texts.extend([yaml.trim_end().replace('\n', "\r\n"), yaml.trim_end().to_owned()]);
    }
    texts.join("\n---\n")
}

#[test]
fn uninject_after_inject_gives_every_byte_back() {
    let given_back = |arguments: &[&str], text: &str, of: &Path| {
        let injected = pipe(arguments, text);
        let after = pipe(&["uninject", "-"], &injected);
        assert_eq!(values(&after), values(text), "{}", of.display());
        assert_eq!(after, text, "{}", of.display());
        injected.matches("- name: vdi-metrics").count()
            + injected.matches("\"name\": \"vdi-metrics\"").count()
    };
    let mut sidecars = 0;
    // What one of them has in its namespace is not for here; it would be in the output.
    for Case { pod, arguments } in
        cases().into_iter().filter(|case| !case.pod.ends_with("already-injected.yaml"))
    {
        let config: Vec<_> =
            arguments.iter().map(String::as_str).filter(|path| !path.ends_with(".namespace.yaml")).collect();
        let inject = [&["inject", "-"], &config[..]].concat();
        let text = read(&pod);
        given_back(&inject, &text, &pod);
        sidecars += given_back(&inject, &holders(&values(&text)[0]), &pod);
    }
    assert!(sidecars > 500, "{sidecars}");
    for name in ["deployment.yaml", "kinds.yaml", "list.json", "voids.yaml"] {
        given_back(&["inject", "-"], &read(&folder("tests/cli").join(name)), Path::new(name));
    }
}

#[test]
fn what_is_spelt_anew_has_the_same_values() {
    let text = read(&folder("tests/cli/shared.yaml"));
    let injected = pipe(&["inject", "-"], &text);
    assert_eq!(values(&pipe(&["uninject", "-"], &injected)), values(&text));
    assert!(!injected.contains("# shared") && injected.contains("# kept"));
}

#[test]
fn every_line_of_a_manifest_is_still_there() {
    let text = read(&folder("tests/cli/deployment.yaml"));
    let injected = pipe(&["inject", "-"], &text);
    assert!(injected.contains("- name: vdi-metrics"));
    let mut lines = injected.lines();
    // The labels are in brackets, where ours are added to the line.
    for line in text.lines().filter(|line| !line.contains("app: cad")) {
        assert!(lines.any(|found| found == line), "{line}");
    }
    let not_a_pod = text.replace("kind: Deployment", "kind: Rollout");
    assert_eq!(pipe(&["inject", "-"], &not_a_pod), not_a_pod);
}

#[test]
fn types_and_order_survive_json_and_back() {
    let text = read(&folder("tests/cli/deployment.yaml"));
    let json = pipe(&["uninject", "-", "-o", "json"], &text);
    let place = |word: &str| json.find(&format!("\"{word}\"")).unwrap_or_else(|| panic!("{word}: {json}"));
    let order =
        ["apiVersion", "kind", "metadata", "spec", "replicas", "template", "containers", "image", "command"];
    assert!(order.map(place).is_sorted(), "{json}");
    for line in [
        r#""replicas": 2,"#,
        r#""revisionHistoryLimit": 10,"#,
        r#""version": "1.10""#,
        r#""big": 123456789012345678901234567890,"#,
        r##""# no comment\necho \"  kept\"\n\n  as it is\n""##,
    ] {
        assert!(json.contains(line), "{line}: {json}");
    }
    // As kubectl reads them.
    let words: Value = serde_json::from_str(&json).unwrap();
    let words = &words["spec"]["template"]["spec"]["words"];
    assert_eq!(*words, json!([true, "yes", false, null, null, 1.5, 1e3, 511, "0777", "2026-11-24"]));
    let yaml = pipe(&["uninject", "-", "-o", "yaml"], &json);
    assert_eq!(pipe(&["uninject", "-", "-o", "json"], &yaml), json, "{yaml}");
    assert!(yaml.starts_with("apiVersion: apps/v1\nkind: Deployment\n"));
    assert!(yaml.contains("- |\n          # no comment\n"), "{yaml}");
}

#[test]
fn several_files_become_one_stream() {
    let ended = run(
        &["inject", "voids.yaml", "-", "list.json"],
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}",
    );
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(values(&ended.stdout).len(), 5, "{}", ended.stdout);
    for line in [
        "voids.yaml: pod/voids: injected",
        "standard input: configmap/x: not a pod",
        "list.json: pod/bob: injected",
    ] {
        assert!(ended.stderr.lines().any(|found| found == line), "{line}: {}", ended.stderr);
    }
    let json = pipe(&["inject", "voids.yaml", "list.json", "-o", "json"], "");
    let documents = serde_json::Deserializer::from_str(&json).into_iter::<Value>();
    assert_eq!(documents.map(Result::unwrap).count(), 4);
}

#[test]
fn what_cannot_be_read_is_named_and_nothing_is_written() {
    let good = "kind: ConfigMap\n---\n";
    for (input, words) in [
        (
            format!("{good}a: [1, 2\n").into_bytes(),
            vec!["standard input: document 2, line 3, column 4", "bracket"],
        ),
        (
            format!("{good}a: 1\nb: 2\na: 3\n").into_bytes(),
            vec!["document 2, line 5, column 1", "\"a\" is there twice", "leave one"],
        ),
        (format!("{good}a: *b\n").into_bytes(), vec!["document 2, line 3", "anchor"]),
        (format!("{good}a: &a [*a]\n").into_bytes(), vec!["document 2, line 3", "alias"]),
        (format!("{good}[x]: 1\n").into_bytes(), vec!["document 2, line 3", "a key that is no text"]),
        (b"a: \xff\n".to_vec(), vec!["not UTF-8", "save it as UTF-8"]),
        (b"{\"a\": 1}\n{\"b\": 2}\n".to_vec(), vec!["document 1, line 2"]),
        (laughs().into_bytes(), vec!["document 1", "its aliases multiply"]),
    ] {
        for verb in ["inject", "uninject", "explain"] {
            let ended = run(&[verb, "list.json", "-"], &input);
            assert_eq!((ended.code, &*ended.stdout), (1, ""), "{verb}: {}", ended.stderr);
            assert!(words.iter().all(|word| ended.stderr.contains(word)), "{words:?}: {}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        }
    }
    for (arguments, code, words) in [
        (vec!["inject", "none.yaml"], 1, "error: none.yaml: cannot be read"),
        (vec!["inject"], 2, "<FILE>"),
        (vec!["inject", "-", "-o", "xml"], 2, "json, yaml"),
        (vec!["explain", "-", "--namespace-labels", "x"], 2, "KEY=VALUE"),
        (vec!["explain", "-"], 1, "no pod"),
        (vec!["inject", "-", "--config", "deployment.yaml"], 1, "deployment.yaml"),
        (vec!["completions", "tcsh"], 2, "bash"),
    ] {
        let ended = run(&arguments, b"");
        assert_eq!((ended.code, &*ended.stdout), (code, ""), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
}

/// Nine lists of nine of the one before: 387 million nodes.
fn laughs() -> String {
    let line = |n: usize| format!("l{n}: &l{n} [{}]\n", vec![format!("*l{}", n - 1); 9].join(", "));
    std::iter::once("l0: &l0 ha\n".to_owned()).chain((1..10).map(line)).collect()
}

#[test]
fn explain_ends_with_what_it_found() {
    let pod = |labels: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": labels}, "spec": {"containers": []}}).to_string()
    };
    for (labels, code) in [(json!({"vdi-metrics.io/inject": "enabled"}), 0), (json!({}), 3)] {
        let ended = run(&["explain", "-", "-o", "json"], pod(labels).as_bytes());
        assert_eq!(ended.code, code, "{}", ended.stderr);
        let explanation: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(explanation[0]["injected"], code == 0);
        assert_eq!(explanation[0]["webhooks"].as_array().unwrap().len(), 2);
        assert_eq!(explanation[0]["adds"]["container"]["name"].is_string(), code == 0, "{explanation}");
        let yaml = run(&["explain", "-", "-o", "yaml"], pod(explanation[0]["webhooks"].clone()).as_bytes());
        assert!(yaml.stdout.starts_with("- object: pod/x\n"), "{}", yaml.stdout);
    }
}

#[test]
fn pull_secrets_are_the_servers_to_add() {
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

#[test]
fn the_configuration_in_effect_reads_back_as_itself() {
    let defaults = pipe(&["render"], "");
    assert!(defaults.starts_with("sidecar:\n"), "{defaults}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, defaults.replace("port: 9478", "port: 9999")).unwrap();
    let changed = pipe(&["render", "--config", file.to_str().unwrap()], "");
    assert_eq!(changed, defaults.replace("port: 9478", "port: 9999"));
    assert_ne!(changed, defaults);
    let injected = pipe(
        &["inject", "-", "--config", file.to_str().unwrap()],
        &read(&self::folder("tests/pods/bare.yaml")),
    );
    assert!(injected.contains("containerPort: 9999"), "{injected}");
}

#[test]
fn shells_complete_every_verb() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = pipe(&["completions", shell], "");
        for verb in ["serve", "inject", "uninject", "explain", "render", "completions", "namespace-labels"] {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
}

#[test]
fn the_documentation_names_every_verb_option_and_exit_code() {
    let documentation = read(&folder("docs/cli.md"));
    for verb in ["inject", "uninject", "explain", "render", "completions"] {
        let help = pipe(&[verb, "--help"], "");
        assert!(documentation.contains(&format!("## `vdi-metrics {verb}")), "{verb}");
        for option in help.split_whitespace().filter(|word| word.starts_with("--")) {
            let option = option.trim_matches(|c: char| c != '-' && !c.is_ascii_alphabetic());
            assert!(documentation.contains(option), "{verb} {option}");
        }
    }
    for reason in [SkipReason::HostNetwork, SkipReason::NameTaken] {
        assert!(documentation.contains(reason.as_str()));
    }
    assert!((0..4).all(|code| documentation.contains(&format!("| {code} |"))));
}
