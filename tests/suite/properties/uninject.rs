//! `uninject` after `inject` gives the original manifest.

use std::process::ExitCode;

use clap::Parser;
use kit::random_pods;
use proptest::prelude::*;
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

proptest! {
    #[test]
    fn uninject_undoes_inject(mut pod in random_pods::valid(), configuration in 0..CONFIGURATIONS.len(), yaml in any::<bool>()) {
        prop_assume!(has_no_injected_key(&pod));
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        let manifest = if yaml { serde_saphyr::to_string(&pod).unwrap() } else { random_pods::text(&pod) };
        // YAML does not allow this character unescaped; JSON does.
        let manifest = manifest.replace('\u{7f}', "");
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), CONFIGURATIONS[configuration]).unwrap();
        let (injected, report) = run("inject", &["--config", config.path().to_str().unwrap()], &manifest);
        let (back, _) = run("uninject", &[], &injected);
        prop_assert_eq!(back, manifest, "{}", report);
    }
}
