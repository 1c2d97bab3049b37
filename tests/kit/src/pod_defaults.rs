//! The API server's own changes to a pod between two webhook calls: defaults, the ServiceAccount plugin's token, and the
//! resulting quality of service. The code follows `pkg/apis/core/v1/{defaults,helper/qos}` and
//! `plugin/pkg/admission/serviceaccount` of Kubernetes 1.37, for the fields that the webhook's patch can affect.

mod quantity;

use serde_json::{Value, json};

use quantity::{canonical, parse};

/// Kubernetes' quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// No container has requests or limits.
    BestEffort,
    /// Some have.
    Burstable,
    /// All have, for CPU and memory, and each request equals its limit.
    Guaranteed,
}

/// The path at which the token is mounted, unless the container already has a mount there.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The pod with the API server's changes, in a namespace whose default account mounts its token.
pub fn stored(pod: &Value) -> Value {
    let mut pod = pod.clone();
    without_nulls(&mut pod);
    default_pod(&mut pod);
    mount_token(&mut pod["spec"]);
    // The API server sets defaults again in what admission has added.
    default_pod(&mut pod);
    pod
}

/// The class of the pod that the API server stores.
pub fn qos(pod: &Value) -> Qos {
    let spec = &stored(pod)["spec"];
    let of_pod = &spec["resources"];
    let supported = |name: &str| name == "cpu" || name == "memory" || name.starts_with("hugepages-");
    let named = |list: &str| of_pod[list].as_object().into_iter().flatten().any(|(name, _)| supported(name));
    if named("requests") || named("limits") {
        return class(of_pod);
    }
    let classes = containers(spec).map(|container| class(&container["resources"]));
    classes.reduce(|one, other| if one == other { one } else { Qos::Burstable }).unwrap_or(Qos::BestEffort)
}

fn class(resources: &Value) -> Qos {
    let amount = |list: &str, name: &str| {
        let quantity = &resources[list][name];
        let text = quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
        parse(&text).map_or(0, |(nano, _)| nano)
    };
    let one = |name| match (amount("requests", name), amount("limits", name)) {
        (0, 0) => Qos::BestEffort,
        (request, limit) if request == limit => Qos::Guaranteed,
        _ => Qos::Burstable,
    };
    if one("cpu") == one("memory") { one("cpu") } else { Qos::Burstable }
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().filter_map(|list| spec[list].as_array()).flatten()
}

/// Removes nulls. The API server decodes a pod into Go types, and writes no nil pointer, list or map.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn default_pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    let host_network = spec["hostNetwork"] == true;
    let account = spec["serviceAccountName"].clone();
    default(
        spec,
        json!({
            "dnsPolicy": "ClusterFirst",
            "restartPolicy": "Always",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
            "schedulerName": "default-scheduler",
            "enableServiceLinks": true,
            "serviceAccountName": "default",
            "serviceAccount": if account.is_null() { json!("default") } else { account },
            "priority": 0,
            "preemptionPolicy": "PreemptLowerPriority",
        }),
    );
    for list in ["initContainers", "containers"] {
        each(spec, list, |container| default_container(container, host_network));
    }
    each(spec, "volumes", default_volume);
    default_resources(&mut spec["resources"]);
    without_nulls(spec);
    pod["status"] = json!({});
}

fn default_container(container: &mut Value, host_network: bool) {
    let latest = container["image"].as_str().is_some_and(|image| {
        !image.contains('@')
            && image.rsplit('/').next().is_some_and(|name| !name.contains(':') || name.ends_with(":latest"))
    });
    default(
        container,
        json!({
            "imagePullPolicy": if latest { "Always" } else { "IfNotPresent" },
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "resources": {},
        }),
    );
    default_resources(&mut container["resources"]);
    each(container, "ports", |port| {
        default(port, json!({"protocol": "TCP"}));
        if host_network {
            let number = port["containerPort"].clone();
            default(port, json!({"hostPort": number}));
        }
    });
    each(container, "env", |variable| default_field_ref(&mut variable["valueFrom"]));
    without_nulls(container);
}

/// Writes quantities in their canonical form, and sets missing requests to the limits.
fn default_resources(resources: &mut Value) {
    for list in ["requests", "limits"] {
        for (_, quantity) in resources.get_mut(list).and_then(Value::as_object_mut).into_iter().flatten() {
            *quantity = canonical(quantity);
        }
    }
    if let Some(limits) = resources.get("limits").filter(|limits| limits.is_object()).cloned() {
        default(resources, json!({"requests": {}}));
        default(&mut resources["requests"], limits);
    }
}

fn default_volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|fields| fields.len() == 1) {
        volume["emptyDir"] = json!({});
    }
    for source in ["projected", "configMap", "secret", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, json!({"defaultMode": 0o644}));
            each(source, "items", default_field_ref);
            each(source, "sources", |source| {
                if let Some(token) = source.get_mut("serviceAccountToken") {
                    default(token, json!({"expirationSeconds": 3600}));
                }
                if let Some(downward) = source.get_mut("downwardAPI") {
                    each(downward, "items", default_field_ref);
                }
            });
        }
    }
}

fn default_field_ref(parent: &mut Value) {
    if let Some(reference) = parent.get_mut("fieldRef") {
        default(reference, json!({"apiVersion": "v1"}));
    }
}

fn mount_token(spec: &mut Value) {
    if spec["automountServiceAccountToken"] == false {
        return;
    }
    let names: Vec<&str> = spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    let existing =
        names.iter().find(|name| name.starts_with("kube-api-access-")).map(|name| (*name).to_owned());
    let name = existing.clone().unwrap_or_else(|| "kube-api-access-a1b2c".to_owned());
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        each(spec, list, |container| {
            let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().all(|mount| mount["mountPath"] != TOKEN_PATH) {
                let token = json!({"name": name, "readOnly": true, "mountPath": TOKEN_PATH});
                container["volumeMounts"] = mounts.into_iter().chain([token]).collect();
                mounted = true;
            }
            without_nulls(container);
        });
    }
    if mounted && existing.is_none() {
        let sources = json!([{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]);
        let volume = json!({"name": name, "projected": {"sources": sources, "defaultMode": 0o644}});
        let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
        spec["volumes"] = volumes.into_iter().chain([volume]).collect();
    }
    without_nulls(spec);
}

/// Sets the missing fields.
fn default(object: &mut Value, defaults: Value) {
    if let (Value::Object(object), Value::Object(defaults)) = (object, defaults) {
        for (name, value) in defaults {
            object.entry(name).or_insert(value);
        }
    }
}

fn each(parent: &mut Value, list: &str, change: impl FnMut(&mut Value)) {
    parent.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(change);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_follows_the_rules_of_kubernetes() {
        let pod = |resources: &[Value]| {
            let containers: Vec<_> =
                resources.iter().map(|resources| json!({"resources": resources})).collect();
            qos(&json!({"spec": {"containers": containers}}))
        };
        let guaranteed = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(pod(&[json!({})]), Qos::BestEffort);
        assert_eq!(pod(std::slice::from_ref(&guaranteed)), Qos::Guaranteed);
        assert_eq!(pod(&[guaranteed, json!({})]), Qos::Burstable);
        assert_eq!(pod(&[json!({"requests": {"cpu": "1"}})]), Qos::Burstable);
        assert_eq!(pod(&[json!({"limits": {"nvidia.com/gpu": "1"}})]), Qos::BestEffort);
    }
}
