//! `render` and `completions`.

use std::fs;

use super::program::{folder, pipe, read};

#[test]
fn the_rendered_configuration_can_be_used_as_configuration() {
    let defaults = pipe(&["render"], "");
    assert!(defaults.starts_with("sidecar:\n"), "{defaults}");
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("config.yaml");
    fs::write(&file, defaults.replace("port: 9478", "port: 9999")).unwrap();
    let changed = pipe(&["render", "--config", file.to_str().unwrap()], "");
    assert_eq!(changed, defaults.replace("port: 9478", "port: 9999"));
    assert_ne!(changed, defaults);
    let injected =
        pipe(&["inject", "-", "--config", file.to_str().unwrap()], &read(&folder("tests/pods/bare.yaml")));
    assert!(injected.contains("containerPort: 9999"), "{injected}");
}

#[test]
fn every_shell_completes_every_verb_and_option() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = pipe(&["completions", shell], "");
        for verb in [
            "serve",
            "inject",
            "uninject",
            "explain",
            "render",
            "completions",
            "namespace-labels",
            "filename",
        ] {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
}
