//! `uninject` after `inject` gives the original manifest.

use std::process::ExitCode;

use clap::Parser;
use kit::random_pods;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};
use vdi_metrics::{
    cli::{Cli, Command, Streams},
    contract::key,
};

use super::CONFIGURATIONS;

/// The output of a verb for a manifest, and its report.
fn run(verb: &str, options: &[&str], manifest: &str) -> (String, String) {
    let arguments = ["vdi-metrics", verb, "-"].into_iter().chain(options.iter().copied());
    let Command::Verb(verb) = Cli::parse_from(arguments).command else {
        panic!("{verb} is not a verb for manifests")
    };
    let (mut stdout, mut stderr) = (vec![], vec![]);
    let mut streams = Streams { stdin: &mut manifest.as_bytes(), stdout: &mut stdout, stderr: &mut stderr };
    let code = verb.run(&mut streams);
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(code, ExitCode::SUCCESS, "{stderr}");
    (stdout, stderr)
}

/// Whether the pod has none of the keys that injection adds. `uninject` would remove them.
fn has_no_injected_key(pod: &Value) -> bool {
    let has = |map: &str, key: &str| pod["metadata"][map].get(key).is_some();
    let annotations = [key::STATUS, key::CONFIG, key::RESTORE];
    !has("labels", key::INJECTED) && !annotations.iter().any(|key| has("annotations", key))
}

/// Every way to write that a map or list is empty. The first six are for both.
const EMPTY_MAPS: [&str; 11] = [
    "",
    " ~",
    " null",
    "  NULL",
    " !!null",
    " # inside\n      null",
    " {}",
    " { }",
    " {\n      # inside\n      }",
    "\n      {}",
    " # inside\n      # more\n      { }",
];
const EMPTY_LISTS: [&str; 9] = [
    "",
    " ~",
    " Null",
    " !!null ''",
    "   null",
    " []",
    " [ ]",
    " [\n      # inside\n      ]",
    " # inside\n      []",
];
const COMMENTS: [&str; 5] = ["", " # after", "  #", " # after\n  # below", "\n\n  # below"];

/// A field that is absent or empty, with comments.
fn empty_field(name: &'static str, spellings: &'static [&'static str]) -> impl Strategy<Value = String> {
    (option::weighted(0.8, select(spellings)), select(&COMMENTS[..])).prop_map(move |(spelling, comment)| {
        spelling.map_or_else(String::new, |spelling| format!("  {name}:{spelling}{comment}\n"))
    })
}

/// A pod as people write it: empty fields in every spelling, comments, any indentation.
fn written_pod() -> impl Strategy<Value = String> {
    let metadata = prop_oneof![
        3 => (empty_field("labels", &EMPTY_MAPS), empty_field("annotations", &EMPTY_MAPS))
            .prop_map(|(labels, annotations)| format!("metadata:\n  name: x\n{labels}{annotations}")),
        1 => empty_field("metadata", &EMPTY_MAPS).prop_map(|field| field.trim_start().to_owned()),
    ];
    let spec = (empty_field("initContainers", &EMPTY_LISTS), empty_field("volumes", &EMPTY_LISTS));
    (metadata, spec, select(&["", "  ", "    "][..]), any::<bool>()).prop_map(
        |(metadata, (init, volumes), margin, last)| {
            let spec = format!("spec:\n{init}  containers:\n  - name: desktop # kept\n{volumes}");
            let (first, second) = if last { (spec, metadata) } else { (metadata, spec) };
            let pod = format!("# A pod.\napiVersion: v1\nkind: Pod\n{first}{second}");
            pod.lines()
                .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{margin}{line}\n") })
                .collect()
        },
    )
}

/// A file with several such pods.
fn written_file() -> impl Strategy<Value = String> {
    let separator =
        select(&["---\n", "--- # next\n", "...\n---\n", "---\n\u{feff}", "---\n# between\n---\n"][..]);
    let start = select(&["", "\u{feff}", "---\n", "# first\n---\n"][..]);
    (start, vec((written_pod(), separator), 1..4), any::<bool>(), any::<bool>()).prop_map(
        |(start, pods, crlf, newline)| {
            let mut text = start.to_owned();
            for (index, (pod, separator)) in pods.iter().enumerate() {
                text += if index > 0 { separator } else { "" };
                text += pod;
            }
            let text = if newline { text } else { text.trim_end().to_owned() };
            if crlf { text.replace('\n', "\r\n") } else { text }
        },
    )
}

proptest! {
    #[test]
    fn uninject_gives_back_every_byte_of_a_written_file(manifest in written_file()) {
        let (injected, report) = run("inject", &[], &manifest);
        prop_assert!(!report.contains("rewritten") && !report.contains("skipped"), "{}\n{}", report, manifest);
        let (back, _) = run("uninject", &[], &injected);
        prop_assert_eq!(back, manifest, "{}", injected);
    }

    #[test]
    fn uninject_undoes_inject(mut pod in random_pods::valid(), configuration in 0..CONFIGURATIONS.len(), yaml in any::<bool>()) {
        prop_assume!(has_no_injected_key(&pod));
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        let manifest = if yaml { serde_saphyr::to_string(&pod).unwrap() } else { random_pods::text(&pod) };
        // YAML does not allow this character unescaped; JSON does.
        let manifest = manifest.replace('\u{7f}', "");
        // kubectl rejects a number that no float has.
        let manifest = manifest.replace("1E400", "1E300");
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), CONFIGURATIONS[configuration]).unwrap();
        let (injected, report) = run("inject", &["--config", config.path().to_str().unwrap()], &manifest);
        let (back, _) = run("uninject", &[], &injected);
        prop_assert_eq!(back, manifest, "{}", report);
    }
}
