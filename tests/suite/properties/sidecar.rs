//! The sidecar in a pod, and what must hold for it in every pod.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vdi_metrics::contract::{CONTAINER, env, key};

/// Checks what must hold for the sidecar in every pod.
pub(super) fn check_sidecar(sidecar: &Value, pod: &Value, list: &str) {
    let fields = [
        "name",
        "image",
        "imagePullPolicy",
        "restartPolicy",
        "env",
        "ports",
        "resources",
        "securityContext",
        "volumeMounts",
        "terminationMessagePath",
        "terminationMessagePolicy",
    ];
    assert!(sidecar.as_object().unwrap().keys().all(|field| fields.contains(&field.as_str())), "{sidecar}");
    let (native, policy) = (list == "initContainers", &sidecar["restartPolicy"]);
    assert_eq!(*policy, if native { json!("Always") } else { Value::Null });
    assert!(
        native || pod["spec"]["restartPolicy"] == "Always",
        "the pod cannot complete, because the sidecar is an ordinary container"
    );
    for amounts in ["requests", "limits"] {
        let mut names = sidecar["resources"][amounts].as_object().into_iter().flatten();
        assert!(names.all(|(name, _)| name == "cpu" || name == "memory"), "{sidecar}");
    }
    let is_of_desktop = |claim: &Value| {
        others(pod).any(|container| items(&container["resources"], "claims").any(|other| other == claim))
    };
    assert!(items(&sidecar["resources"], "claims").all(is_of_desktop), "{sidecar}");
    assert!(items(sidecar, "volumeMounts").all(|mount| mount["name"] == CONTAINER), "{sidecar}");
    assert_eq!(items(&pod["spec"], "volumes").filter(|volume| volume["name"] == CONTAINER).count(), 1);
    check_environment(sidecar, pod);
    check_desktop_ports(sidecar, pod);
    let port = &sidecar["ports"][0]["containerPort"];
    let mut other_ports = others(pod).flat_map(|other| items(other, "ports"));
    assert!(!other_ports.any(|other| other["containerPort"] == *port), "port {port} is used twice");
    let context = &sidecar["securityContext"];
    let restricted = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL", "NET_RAW"]}, "privileged": false,
        "readOnlyRootFilesystem": true, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert!(
        restricted.as_object().unwrap().iter().all(|(field, value)| context[field] == *value),
        "{sidecar}"
    );
    assert_eq!(context["runAsUser"], context["runAsGroup"], "a user without a group runs in group 0");
    let root = context["runAsUser"].is_null() && pod["spec"]["securityContext"]["runAsUser"] == 0;
    assert!(!root, "the sidecar would run as the pod's user 0, which runAsNonRoot forbids");
}

/// The kernel does not start a program if one of its variables has 128 KiB, or if all of them and the arguments together have
/// more than 2 MiB. A value can come from an annotation, which may have 256 KiB.
fn check_environment(sidecar: &Value, pod: &Value) {
    let bytes = |variable: &Value| {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            None => &variable["value"],
            Some(path) => {
                let (map, key) = path.strip_prefix("metadata.").unwrap().split_once("['").unwrap();
                &pod["metadata"][map][key.strip_suffix("']").unwrap()]
            }
        };
        variable["name"].as_str().unwrap().len() + value.as_str().unwrap().len() + "=\0".len()
    };
    let sizes: Vec<_> = items(sidecar, "env").map(bytes).collect();
    assert!(
        sizes.iter().all(|size| *size < 300) && sizes.iter().sum::<usize>() < 2048,
        "{sizes:?}: {sidecar}"
    );
}

/// The sidecar gets exactly the declared ports at which viewers can connect, except if presence is off.
fn check_desktop_ports(sidecar: &Value, pod: &Value) {
    let value = |name: &str| items(sidecar, "env").find(|variable| variable["name"] == name);
    let off = value(env::PRESENCE).map(|variable| &variable["value"]);
    assert!(off.is_none_or(|off| off == "off"), "{sidecar}");
    let annotation = pod["metadata"]["annotations"][key::PRESENCE].as_str().unwrap_or_default();
    assert!(!["auto", "off"].contains(&annotation) || (annotation == "off") == off.is_some(), "{pod}");
    let runs = |container: &&Value| {
        let is_init = items(&pod["spec"], "initContainers").any(|init| init["name"] == container["name"]);
        !is_init || container["restartPolicy"] == "Always"
    };
    let has_viewers = |port: &&Value| {
        let name = port["name"].as_str().unwrap_or_default();
        let is_watched =
            ["metrics", "prom"].iter().any(|end| name.ends_with(end)) || name.starts_with("health");
        !["UDP", "SCTP"].map(Value::from).contains(&port["protocol"]) && !is_watched
    };
    let ports = others(pod).filter(runs).flat_map(|container| items(container, "ports")).filter(has_viewers);
    let ports: BTreeSet<_> = ports.map(|port| port["containerPort"].as_u64().unwrap()).collect();
    let mut regular = items(&pod["spec"], "containers").filter(|container| container["name"] != CONTAINER);
    let is_listed =
        off.is_none() && regular.all(|container| items(container, "ports").any(|port| has_viewers(&port)));
    let ports: Vec<_> = ports.iter().filter(|_| is_listed).map(ToString::to_string).collect();
    let listed = value(env::PORTS).map_or("", |variable| variable["value"].as_str().unwrap());
    assert_eq!(listed, ports.join(","), "{pod}");
}

/// The list that has the sidecar, and the sidecar's index in it.
pub(super) fn index_of_sidecar(pod: &Value) -> Option<(&'static str, usize)> {
    ["initContainers", "containers"].into_iter().find_map(|list| {
        let index = pod["spec"][list].as_array()?.iter().position(|item| item["name"] == CONTAINER)?;
        Some((list, index))
    })
}

/// The containers other than the sidecar.
pub(super) fn others(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers"].into_iter().filter_map(|list| pod["spec"][list].as_array());
    lists.flatten().filter(|container| container["name"] != CONTAINER)
}

pub(super) fn items<'v>(object: &'v Value, list: &str) -> impl Iterator<Item = &'v Value> {
    object[list].as_array().into_iter().flatten()
}
