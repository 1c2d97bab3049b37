use serde_json::{Value, json};

use super::*;
use crate::{
    admission::{Injector, Namespaces, Settings},
    contract::CONTAINER,
};

const NAMES: [SessionName; 4] = [
    TEMPLATE,
    POOL,
    SessionName { variable: env::SESSION, key: key::SESSION },
    SessionName { variable: env::USER, key: key::USER },
];

const OPERATOR: &str = "\
showUser: true
profiles:
- name: acme
  matchLabels: {acme.example/desktop: \"yes\"}
  session: acme.example/name
  template: acme.example/template
  pool: acme.example/pool
  user: acme.example/user
";

fn injector(configuration: &str) -> Injector {
    Injector::new(Settings::parse(configuration, "config.yaml".as_ref()).unwrap())
}

/// The pod as admission leaves it.
fn injected(injector: &Injector, mut pod: Value) -> Value {
    let decision = injector.consider(pod.to_string().as_bytes(), "desktops", &Namespaces::default());
    json_patch::patch(&mut pod, &decision.patch.unwrap()).unwrap();
    pod
}

fn desktop(labels: &Value, annotations: &Value) -> Value {
    let metadata = json!({"name": "desktop", "labels": labels, "annotations": annotations});
    json!({"metadata": metadata, "spec": {"containers": [
        {"name": "desktop", "image": "desktop:1", "env": [{"name": env::TEMPLATE, "value": "not the sidecar's"}]},
    ]}})
}

fn read(pod: &Value) -> [Option<String>; 4] {
    let spec: Spec = serde_json::from_value(pod["spec"].clone()).unwrap();
    let metadata: ObjectMeta = serde_json::from_value(pod["metadata"].clone()).unwrap();
    NAMES.map(|name| name.of(&spec, &metadata).map(str::to_owned))
}

/// The sidecar's environment as the kubelet creates it (`ExtractFieldPathAsString`), shown as the sidecar shows it.
fn sidecar(pod: &Value) -> [Option<String>; 4] {
    let containers =
        ["initContainers", "containers"].into_iter().filter_map(|list| pod["spec"][list].as_array());
    let sidecar = containers.flatten().find(|container| container["name"] == CONTAINER).unwrap();
    NAMES.map(|name| {
        let variables = sidecar["env"].as_array().unwrap();
        let variable = variables.iter().find(|variable| variable["name"] == name.variable)?;
        let path = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str().unwrap();
        let (map, key) = path.strip_prefix("metadata.").unwrap().split_once("['").unwrap();
        let value = pod["metadata"][map][key.strip_suffix("']").unwrap()].as_str()?;
        contract::shown_name(value).map(str::to_owned)
    })
}

fn names(values: [&str; 4]) -> [Option<String>; 4] {
    values.map(|value| (!value.is_empty()).then(|| value.to_owned()))
}

#[test]
fn names_match_the_sidecar_under_every_profile() {
    let injector = injector(OPERATOR);
    for (labels, annotations, expected) in [
        (json!({key::TEMPLATE: "cad"}), json!({key::POOL: "berlin"}), names(["cad", "berlin", "", ""])),
        (json!({}), json!({key::TEMPLATE: "cad"}), names(["cad", "", "", ""])),
        (json!({key::TEMPLATE: ""}), json!({key::TEMPLATE: "cad"}), names(["cad", "", "", ""])),
        (json!({}), json!({}), names([""; 4])),
        // The profile `coder`.
        (
            json!({"com.coder.resource": "true", "com.coder.workspace.name": "dev", "com.coder.user.username": "ann"}),
            json!({key::TEMPLATE: "cad"}),
            names(["cad", "", "dev", "ann"]),
        ),
        // The profile `kvdi`.
        (
            json!({"vdiComponent": "desktop", "desktopName": "d1", "desktopUser": "ann", "vdiCluster": "east"}),
            json!({}),
            names(["", "east", "d1", "ann"]),
        ),
        // The operator's profile.
        (
            json!({"acme.example/desktop": "yes", "acme.example/template": "cad", "acme.example/name": "d2"}),
            json!({"acme.example/pool": "south", "acme.example/user": "Ann Other"}),
            names(["cad", "south", "d2", "Ann Other"]),
        ),
        (
            json!({"acme.example/desktop": "yes", "acme.example/template": "cad", key::TEMPLATE: "office"}),
            json!({}),
            names(["office", "", "", ""]),
        ),
        // No profile: the labels of the operator's profile are absent.
        (json!({"acme.example/template": "cad"}), json!({}), names([""; 4])),
    ] {
        let pod = injected(&injector, desktop(&labels, &annotations));
        assert_eq!(read(&pod), expected, "{pod:#}");
        assert_eq!(read(&pod), sidecar(&pod), "{pod:#}");
    }
}

#[test]
fn every_built_in_profile_is_tested() {
    let names: Vec<_> = Settings::default().all_profiles().into_iter().map(|profile| profile.name).collect();
    assert_eq!(names, ["coder", "kvdi"], "add the new profile to the test above");
}

#[test]
fn a_change_of_the_profiles_does_not_change_the_names_of_existing_pods() {
    let labels = json!({"acme.example/desktop": "yes", "acme.example/template": "cad", "acme.example/flavour": "office"});
    let (before, after) =
        (injector(OPERATOR), injector(&OPERATOR.replace("acme.example/template", "acme.example/flavour")));
    let pod = injected(&before, desktop(&labels, &json!({})));
    let unchanged = after.consider(pod.to_string().as_bytes(), "desktops", &Namespaces::default());
    assert!(unchanged.patch.is_none_or(|patch| patch.is_empty()));
    assert_eq!((read(&pod)[0].as_deref(), sidecar(&pod)[0].as_deref()), (Some("cad"), Some("cad")));
    let pod = injected(&after, desktop(&labels, &json!({})));
    assert_eq!((read(&pod)[0].as_deref(), sidecar(&pod)[0].as_deref()), (Some("office"), Some("office")));
}

#[test]
fn a_long_name_is_truncated_as_the_sidecar_truncates_it() {
    // Admission skips an annotation of this size; a client can write it after the admission.
    let mut pod = injected(&injector(""), desktop(&json!({}), &json!({key::TEMPLATE: "cad"})));
    pod["metadata"]["annotations"][key::TEMPLATE] = json!("\u{e4}".repeat(200));
    assert_eq!(read(&pod)[0], Some("\u{e4}".repeat(126)));
    assert_eq!(read(&pod), sidecar(&pod));
}

#[test]
fn without_a_sidecar_in_the_spec_the_own_keys_are_read() {
    let pod = desktop(&json!({key::TEMPLATE: ""}), &json!({key::TEMPLATE: "cad", key::POOL: "berlin"}));
    assert_eq!(read(&pod), names(["cad", "berlin", "", ""]));
}

#[test]
fn a_literal_value_in_a_regular_container_is_read_in_any_order_of_the_fields() {
    let read = |spec: &str| {
        let spec: Spec = serde_json::from_str(spec).unwrap();
        TEMPLATE.of(&spec, &ObjectMeta::default()).map(str::to_owned)
    };
    let variable = r#"{"name": "VDI_METRICS_TEMPLATE", "value": "cad"}"#;
    let other = r#"{"name": "desktop", "env": 7, "ports": [{"name": "vdi-metrics"}]}"#;
    assert_eq!(
        read(&format!(r#"{{"containers": [{other}, {{"env": [{variable}], "name": "vdi-metrics"}}]}}"#)),
        Some("cad".to_owned())
    );
    assert_eq!(
        read(r#"{"initContainers": null, "containers": [{"name": "vdi-metrics", "env": null}]}"#),
        None
    );
}
