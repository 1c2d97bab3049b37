//! `render --policy` without an API server: what must hold for the documents of any configuration.
//! `tests/cluster/api_server/policy.rs` compares the policy with the webhook on a real API server.

use std::{
    fs,
    process::{Command, Output},
};

use kit::tempfile::NamedTempFile;
use serde_json::{Value, json};
use vdi_metrics::{
    admission::{Injector, Settings},
    contract::CONTAINER,
};

fn render(config: &str) -> Output {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vdi-metrics"));
    command.args(["render", "--policy", "--config"]).arg(file.path()).output().unwrap()
}

fn documents(config: &str) -> Vec<Value> {
    let output = render(config);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

fn webhooks() -> Vec<Value> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/webhook-config/webhook.yaml");
    let mut configuration: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    configuration["webhooks"].as_array_mut().map(std::mem::take).unwrap()
}

#[test]
fn the_policy_selects_the_same_pods_as_the_webhook() {
    let documents = documents("");
    let [policy, bindings @ ..] = documents.as_slice() else { panic!("the policy is missing") };
    let kinds: Vec<_> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    let [policy_kind, binding_kind] = ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"];
    assert_eq!(kinds, [policy_kind, binding_kind, binding_kind]);
    let entries = webhooks();
    assert_eq!(entries.len(), bindings.len());
    for (entry, binding) in entries.iter().zip(bindings) {
        let [conditions @ .., _not_injected] =
            policy["spec"]["matchConditions"].as_array().unwrap().as_slice()
        else {
            panic!("no conditions")
        };
        assert_eq!(conditions, entry["matchConditions"].as_array().unwrap());
        assert_eq!(
            policy["spec"]["matchConstraints"],
            json!({"resourceRules": entry["rules"], "matchPolicy": entry["matchPolicy"]})
        );
        assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
        assert_eq!(
            binding["spec"]["matchResources"],
            json!({"namespaceSelector": entry["namespaceSelector"], "objectSelector": entry["objectSelector"]})
        );
    }
}

#[test]
fn the_policy_never_blocks_a_pod() {
    for config in [
        "",
        "{sidecar: {mode: container}, scrapeAnnotations: auto, gpuAccess: runtime, presence: off, showUser: true}",
    ] {
        let policy = &documents(config)[0]["spec"];
        assert_eq!(
            (&policy["failurePolicy"], &policy["reinvocationPolicy"]),
            (&json!("Ignore"), &json!("IfNeeded"))
        );
        assert_eq!(
            policy["mutations"].as_array().unwrap().len(),
            1,
            "with several mutations, one could fail alone"
        );
        let patch = policy["mutations"][0]["jsonPatch"]["expression"].as_str().unwrap();
        // API servers before 1.37 panic on a list of these.
        assert!(!patch.contains("Object"), "{patch}");
        let operations = patch.matches("JSONPatch{").count();
        assert!(operations > 15 && operations == patch.matches("op: \"add\"").count(), "{patch}");
        assert!(!patch.contains("placeholder"), "a placeholder was not replaced: {patch}");
    }
}

#[test]
fn every_variable_is_defined_before_its_use_and_used() {
    for config in ["", "{scrapeAnnotations: auto, showUser: true}"] {
        let policy = &documents(config)[0]["spec"];
        let variables = policy["variables"].as_array().unwrap();
        let mut defined = vec![];
        let mut used = vec![];
        for (name, expression) in
            variables.iter().map(|variable| (&variable["name"], &variable["expression"]))
        {
            for variable in variables_in(expression) {
                assert!(defined.contains(&variable), "{name} uses {variable}");
                used.push(variable);
            }
            defined.push(name.as_str().unwrap().to_owned());
        }
        for variable in variables_in(&policy["mutations"][0]["jsonPatch"]["expression"]) {
            assert!(defined.contains(&variable), "the patch uses {variable}");
            used.push(variable);
        }
        let unused: Vec<_> = defined.iter().filter(|name| !used.contains(name)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}

/// The names after `variables.` in an expression.
fn variables_in(expression: &Value) -> Vec<String> {
    let rest = expression.as_str().unwrap().split("variables.").skip(1);
    rest.map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect()).collect()
}

#[test]
fn the_policy_contains_the_configured_values() {
    let config =
        "sidecar: {image: 'registry.example.com/sidecar:2', port: 9500, imagePullSecrets: [registry-key]}";
    let settings: Settings = Settings::parse(config, "config.yaml".as_ref()).unwrap();
    let policy = documents(config)[0].to_string();
    for expected in
        ["registry.example.com/sidecar:2", "9500", "registry-key", Injector::new(settings).hash(), CONTAINER]
    {
        assert!(policy.contains(expected), "{expected}");
    }
}

#[test]
fn an_invalid_configuration_renders_nothing() {
    let output = render("sidecar: {port: 80}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(error.contains("sidecar.port") && error.contains("1024"), "{error}");
}
