//! Pods that have the sidecar already: what is repaired and what is kept.

use kit::security_contexts::CHANGED_CONTEXTS;
use serde_json::json;
use vdi_metrics::contract::{CONTAINER, env, key};

use super::case::{Case, patched, respond_with_defaults, review};

#[test]
fn a_copied_pod_with_the_sidecar_is_reported_as_already_injected() {
    let case = Case::named("bare");
    let mut pod = case.inject(&case.pod);
    pod["spec"]["hostNetwork"] = json!(true);
    assert_eq!(case.response(&pod)["auditAnnotations"]["decision"], "skipped: already_injected");
}

#[test]
fn in_a_copied_pod_only_the_restart_policy_is_restored() {
    let case = Case::named("bare");
    let mut pod = case.inject(&case.pod);
    // The pod was injected with another configuration, or is skipped now: the server has no plan for the rest.
    pod["metadata"]["annotations"][key::CONFIG] = json!("0123456789abcdef");
    pod["spec"]["hostNetwork"] = json!(true);
    let intact = pod.clone();
    let sidecar = pod["spec"]["initContainers"][0].as_object_mut().unwrap();
    sidecar.remove("restartPolicy");
    sidecar.insert("resources".into(), json!({}));
    let response = case.response(&pod);
    assert_eq!(response["auditAnnotations"]["decision"], "repaired");
    let mut expected = intact;
    expected["spec"]["initContainers"][0]["resources"] = json!({});
    assert_eq!(patched(&pod, &response), expected);
}

#[test]
fn a_pod_without_containers_gets_a_native_sidecar() {
    let annotations = json!({key::MODE: "container"});
    let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": []}});
    let injected = patched(&pod, &respond_with_defaults(&review(&pod)));
    assert_eq!(
        (&injected["spec"]["containers"], injected["spec"]["initContainers"][0]["name"].as_str()),
        (&json!([]), Some(CONTAINER))
    );
}

#[test]
fn parts_that_another_webhook_removed_are_restored() {
    let case = Case::named("init-containers");
    let intact = case.inject(&case.pod);
    let index = intact["spec"]["initContainers"].as_array().unwrap().len() - 1;
    let container = format!("/spec/initContainers/{index}");
    for (field, in_the_container) in [
        ("restartPolicy", true),
        ("securityContext", true),
        ("securityContext/allowPrivilegeEscalation", true),
        ("securityContext/capabilities", true),
        ("securityContext/readOnlyRootFilesystem", true),
        ("securityContext/runAsNonRoot", true),
        ("securityContext/runAsUser", true),
        ("securityContext/runAsGroup", true),
        ("securityContext/seccompProfile", true),
        ("resources", true),
        ("volumeMounts", true),
        ("spec/volumes", false),
        ("metadata/labels/vdi-metrics.io~1injected", false),
        ("metadata/labels", false),
    ] {
        let path = if in_the_container { format!("{container}/{field}") } else { format!("/{field}") };
        let mut modified = intact.clone();
        let operation = json_patch::RemoveOperation { path: path.parse().unwrap() };
        json_patch::patch(&mut modified, &[json_patch::PatchOperation::Remove(operation)]).unwrap();
        let response = case.response(&modified);
        assert_eq!(response["auditAnnotations"]["decision"], "repaired", "{path}");
        assert_eq!(patched(&modified, &response), intact, "{path}");
    }
}

/// The cluster suite tests the warning policy with the same table.
#[test]
fn a_security_context_is_repaired_if_and_only_if_it_is_less_safe_than_the_injected_one() {
    let case = Case::named("bare");
    for changed in &CHANGED_CONTEXTS {
        let mut pod = case.pod.clone();
        changed.prepare(&mut pod);
        let mut pod = case.inject(&pod);
        changed.change(&mut pod["spec"]["initContainers"][0]["securityContext"]);
        let response = case.response(&pod);
        let expected = if changed.is_safe { "skipped: already_injected" } else { "repaired" };
        assert_eq!(response["auditAnnotations"]["decision"], expected, "{}", changed.name);
        let again = case.response(&patched(&pod, &response));
        assert_eq!(again["auditAnnotations"]["decision"], "skipped: already_injected", "{}", changed.name);
    }
}

#[test]
fn removed_claims_are_restored_without_other_changes() {
    let case = Case::named("claims");
    let intact = case.inject(&case.pod);
    let mut modified = intact.clone();
    modified["spec"]["initContainers"][0]["resources"].as_object_mut().unwrap().remove("claims");
    let repaired = case.inject(&modified);
    assert_eq!(repaired["spec"]["initContainers"], intact["spec"]["initContainers"]);
}

#[test]
fn a_mounted_api_token_is_replaced_by_the_volume() {
    let case = Case::named("bare");
    let intact = case.inject(&case.pod);
    for (name, decision) in
        [("kube-api-access-2tjj9", "repaired"), ("another-volume", "skipped: already_injected")]
    {
        let mut pod = intact.clone();
        pod["spec"]["initContainers"][0]["volumeMounts"][0]["name"] = json!(name);
        let response = case.response(&pod);
        assert_eq!(response["auditAnnotations"]["decision"], decision);
        assert_eq!(decision == "repaired", case.inject(&pod) == intact);
    }
}

/// A changed variable can be an intention of another webhook.
#[test]
fn the_variables_of_the_sidecar_stay_as_they_are() {
    let case = Case::named("declared-ports");
    let intact = case.inject(&case.pod);
    let variables = intact["spec"]["initContainers"][1]["env"].as_array().unwrap();
    let index = variables.iter().position(|variable| variable["name"] == env::PORTS).unwrap();
    let mut changed = intact.clone();
    changed["spec"]["initContainers"][1]["env"][index]["value"] = json!("1");
    let mut removed = intact.clone();
    removed["spec"]["initContainers"][1]["env"].as_array_mut().unwrap().remove(index);
    let mut switched_off = intact.clone();
    switched_off["spec"]["initContainers"][1]["env"][index] = json!({"name": env::PRESENCE, "value": "off"});
    let mut with_another_port = intact;
    let proxy = json!({"name": "proxy", "ports": [{"containerPort": 4143}]});
    with_another_port["spec"]["containers"].as_array_mut().unwrap().push(proxy);
    for pod in [changed, removed, switched_off, with_another_port] {
        let response = case.response(&pod);
        assert_eq!(response["auditAnnotations"]["decision"], "skipped: already_injected", "{pod}");
        assert!(response["patch"].is_null(), "{pod}");
    }
}

#[test]
fn the_sidecar_moves_to_another_port_if_a_container_declares_its_port_later() {
    let case = Case::named("bare");
    let mut pod = case.inject(&case.pod);
    pod["spec"]["initContainers"][0]["env"].as_array_mut().unwrap().insert(0, json!({"name": "ADDED"}));
    let exporter = json!({"name": "exporter", "ports": [{"containerPort": 9478}, {"containerPort": 9479}]});
    pod["spec"]["containers"].as_array_mut().unwrap().push(exporter);
    let response = case.response(&pod);
    assert_eq!(response["auditAnnotations"]["decision"], "repaired");
    let repaired = patched(&pod, &response);
    assert_eq!(repaired["spec"]["initContainers"][0]["ports"][0]["containerPort"], 9480);
    let expected = json!({"name": "VDI_METRICS_LISTEN", "value": "[::]:9480"});
    assert_eq!(repaired["spec"]["initContainers"][0]["env"][1], expected);
    assert_eq!(case.response(&repaired)["auditAnnotations"]["decision"], "skipped: already_injected");
}

#[test]
fn values_that_another_webhook_set_are_kept() {
    let case = Case::named("bare");
    let mut pod = case.inject(&case.pod);
    let container = &mut pod["spec"]["initContainers"][0];
    container["image"] = json!("mirror.example.com/vdi-metrics/sidecar:0.1.0");
    container["resources"] = json!({"requests": {"cpu": "1m"}});
    container["env"].as_array_mut().unwrap().push(json!({"name": "HTTP_PROXY", "value": "proxy:3128"}));
    container["securityContext"]["seccompProfile"] =
        json!({"type": "Localhost", "localhostProfile": "own.json"});
    container["terminationMessagePath"] = json!("/dev/termination-log");
    assert_eq!(case.response(&pod)["auditAnnotations"]["decision"], "skipped: already_injected");
}
