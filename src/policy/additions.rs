//! Writes the webhook's additions as CEL. This module calls the [`Injector`] with example pods and example settings. In them,
//! every value that differs from pod to pod is a placeholder. In the answer, this module replaces each placeholder by a CEL
//! expression.

use json_patch::PatchOperation;
use serde_json::{Map, Value, json};

use super::cel::{Placeholder, add, literal, text, when};
use crate::{
    admission::{
        Injector, Namespaces, Settings,
        quantity::Quantity,
        settings::{ConfiguredAmounts, ConfiguredResources, SidecarSettings},
    },
    contract::{GpuRequest, env, key},
};

/// The operations: first the additions to the plain pod (see [`plain`]), then the optional parts of the sidecar.
pub(super) fn of(injector: &Injector) -> Vec<String> {
    let example = Injector::new(example_settings(injector.settings()));
    let placeholders = placeholders(injector, &example);
    let answer = answer_to(&example, &plain());
    let sidecar = container(&answer);
    let common = answer.iter().map(|(path, value)| {
        let (target, cel) = (text(path), literal(value, &placeholders));
        match &**path {
            // The plain pod has the mode `container`, so this operation adds the sidecar. The policy adds the sidecar at
            // `variables.at`, in both modes.
            CONTAINERS => add("variables.at", &literal(&sidecar, &placeholders)),
            PULL_SECRETS => when(&lacks_secret(&value["name"]), &add(&target, &cel)),
            path if path.starts_with(SCRAPING) => when("variables.unscraped", &add(&target, &cel)),
            _ => add(&target, &cel),
        }
    });
    let optional = |(condition, change): &OptionalPart| -> Vec<_> {
        let mut pod = plain();
        change(&mut pod);
        let added = differences(&sidecar, &container(&answer_to(&example, &pod)), "");
        let target = |path| format!("variables.at + {}", text(path));
        added
            .iter()
            .map(|(path, value)| when(condition, &add(&target(path), &literal(value, &placeholders))))
            .collect()
    };
    common.chain(OPTIONAL_PARTS.iter().flat_map(optional)).collect()
}

fn lacks_secret(name: &Value) -> String {
    format!("variables.pullSecrets.all(s, s.?name.orValue(\"\") != {name})")
}

const CONTAINERS: &str = "/spec/containers/-";
const PULL_SECRETS: &str = "/spec/imagePullSecrets/-";
const SCRAPING: &str = "/metadata/annotations/prometheus.io";

/// A part that only some sidecars have: its condition in CEL, and a function that changes the plain pod (see [`plain`]) so
/// that the injector adds this part.
type OptionalPart = (&'static str, fn(&mut Value));

const OPTIONAL_PARTS: [OptionalPart; 11] = [
    ("variables.native", |pod| pod["metadata"]["annotations"][key::MODE] = json!("native")),
    ("variables.fixedUser", |pod| pod["spec"]["securityContext"] = json!({"runAsUser": 0})),
    // In the policy, unlike in the webhook, the sidecar gets requests and limits only in a pod without pod-level resources.
    ("variables.bounded", |pod| pod["spec"]["resources"] = json!({})),
    ("size(variables.claims) > 0", |pod| {
        pod["metadata"]["annotations"][key::GPU_ACCESS] = json!("claims");
        pod["spec"]["containers"][0]["resources"] = json!({"claims": [{"name": CLAIM}]});
        pod["spec"]["resourceClaims"] = json!([{"name": CLAIM}]);
    }),
    ("variables.runtimeAccess", |pod| {
        pod["metadata"]["annotations"][key::GPU_ACCESS] = json!("runtime");
        pod["metadata"]["annotations"][key::GPU] = json!("any");
    }),
    ("variables.presence == \"off\"", |pod| pod["metadata"]["annotations"][key::PRESENCE] = json!("off")),
    ("variables.desktopPorts != \"\"", |pod| {
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": DESKTOP_PORT}]);
    }),
    ("variables.session != \"\"", |pod| pod["metadata"]["labels"][key::SESSION] = json!("any")),
    ("variables.template != \"\"", |pod| pod["metadata"]["labels"][key::TEMPLATE] = json!("any")),
    ("variables.pool != \"\"", |pod| pod["metadata"]["labels"][key::POOL] = json!("any")),
    ("variables.user != \"\"", |pod| pod["metadata"]["labels"][key::USER] = json!("any")),
];

/// The plain pod. All parents exist in it, and its sidecar has none of the optional parts.
fn plain() -> Value {
    json!({
        "metadata": {
            "labels": {},
            "annotations": {
                "openshift.io/scc": "any",
                (key::MODE): "container",
                (key::GPU_ACCESS): "none",
                (key::PRESENCE): "auto",
            },
        },
        "spec": {
            "containers": [{"name": "desktop"}],
            "initContainers": [],
            "volumes": [],
            "imagePullSecrets": [],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        },
    })
}

/// The operations of the injector's answer: paths and values, in order.
fn answer_to(injector: &Injector, pod: &Value) -> Vec<(String, Value)> {
    let decision = injector.consider(pod.to_string().as_bytes(), "", &Namespaces::default());
    let operations = decision.patch.map(|patch| patch.0).unwrap_or_default();
    let added = operations.into_iter().filter_map(|operation| match operation {
        PatchOperation::Add(added) => Some((added.path.to_string(), added.value)),
        _ => None,
    });
    added.collect()
}

/// The sidecar in an answer. `resources` is always present, so that optional parts can add to it.
fn container(answer: &[(String, Value)]) -> Value {
    let paths = [CONTAINERS, "/spec/initContainers/-"];
    let operation = answer.iter().find(|(path, _)| paths.contains(&&**path));
    let mut container = operation.map(|(_, value)| value.clone()).unwrap_or_default();
    if let Some(fields) = container.as_object_mut() {
        fields.entry("resources").or_insert_with(|| Map::new().into());
    }
    container
}

/// The values that only `with` has, each with its JSON pointer: fields of objects, and additional items of lists. `at` is the
/// JSON pointer of both values.
fn differences(without: &Value, with: &Value, at: &str) -> Vec<(String, Value)> {
    match (without, with) {
        (Value::Object(without), Value::Object(with)) => {
            let fields =
                with.iter().map(|(key, value)| (format!("{at}/{}", escaped(key)), without.get(key), value));
            fields
                .flat_map(|(path, old, new)| match old {
                    Some(old) => differences(old, new, &path),
                    None => vec![(path, new.clone())],
                })
                .collect()
        }
        (Value::Array(without), Value::Array(with)) => {
            with.iter().skip(without.len()).map(|item| (format!("{at}/-"), item.clone())).collect()
        }
        _ => vec![],
    }
}

/// A key, escaped for a JSON pointer.
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

// === placeholders ===

/// The settings with placeholders. Each placeholder is unique in the answer, so it can be replaced.
fn example_settings(settings: &Settings) -> Settings {
    let amounts = |cpu, memory| ConfiguredAmounts {
        cpu: Quantity::thousandths(cpu),
        memory: Quantity::mebibytes(memory),
    };
    let sidecar = SidecarSettings {
        image: IMAGE.to_owned(),
        port: PORT,
        interval_seconds: INTERVAL,
        resources: ConfiguredResources { requests: amounts(3, 103), limits: amounts(4, 104) },
        ..settings.sidecar.clone()
    };
    Settings { sidecar, paused: false, ..settings.clone() }
}

const IMAGE: &str = "placeholder.example/image";
const CLAIM: &str = "placeholder-for-claims";
const PORT: u16 = 65_533;
const INTERVAL: u64 = 299;
/// A port of the desktop, before the port of the sidecar.
const DESKTOP_PORT: u16 = 65_532;

fn placeholders(injector: &Injector, example: &Injector) -> Vec<Placeholder> {
    let field = |key: &str| json!(format!("metadata.labels['{key}']"));
    let placeholder =
        |value: Value, expression: &str| Placeholder { value, expression: expression.to_owned() };
    vec![
        placeholder(json!(IMAGE), "variables.image"),
        placeholder(json!(PORT), "variables.port"),
        placeholder(json!(PORT.to_string()), "string(variables.port)"),
        placeholder(json!(format!("[::]:{PORT}")), "\"[::]:\" + string(variables.port)"),
        placeholder(json!(INTERVAL.to_string()), "string(variables.interval)"),
        // The plain pod has 2 containers with the sidecar.
        Placeholder {
            value: json!({"name": env::CONTAINERS, "value": "2"}),
            expression: format!(
                "{{\"name\": {}, \"value\": string(size(variables.all) + 1)}}",
                text(env::CONTAINERS)
            ),
        },
        placeholder(json!("3m"), "variables.cpuRequest"),
        placeholder(json!("4m"), "variables.cpuLimit"),
        placeholder(json!("103Mi"), "variables.memoryRequest"),
        placeholder(json!("104Mi"), "variables.memoryLimit"),
        placeholder(json!([{"name": CLAIM}]), "variables.claims"),
        placeholder(
            json!({"name": env::GPU_ACCESS, "value": "claims"}),
            &format!("{{\"name\": {}, \"value\": variables.claimAccess}}", text(env::GPU_ACCESS)),
        ),
        placeholder(json!(DESKTOP_PORT.to_string()), "variables.desktopPorts"),
        // The plain pod requests no GPU.
        placeholder(
            json!({"name": env::GPU_REQUEST, "value": GpuRequest::None.as_str()}),
            &format!("{{\"name\": {}, \"value\": variables.gpuRequest}}", text(env::GPU_REQUEST)),
        ),
        placeholder(field(key::SESSION), "variables.session"),
        placeholder(field(key::TEMPLATE), "variables.template"),
        placeholder(field(key::POOL), "variables.pool"),
        placeholder(field(key::USER), "variables.user"),
        Placeholder { value: json!(example.hash()), expression: text(injector.hash()) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_lists_added_values_by_json_pointer() {
        let without = json!({"a": {"b": 1}, "list": [{"x": 1}], "same": "s"});
        let with =
            json!({"a": {"b": 1, "c/d": 2}, "list": [{"x": 1}, {"x": 2}], "same": "s", "new": {"n": 1}});
        let expected = [("/a/c~1d", json!(2)), ("/list/-", json!({"x": 2})), ("/new", json!({"n": 1}))];
        let added = differences(&without, &with, "");
        assert_eq!(added, expected.map(|(path, value)| (path.to_owned(), value)));
    }

    #[test]
    fn the_plain_pod_is_injected_and_has_no_optional_part() {
        let example = Injector::new(example_settings(&Settings::default()));
        let answer = answer_to(&example, &plain());
        let sidecar = container(&answer);
        assert!(
            answer.iter().all(|(path, _)| path.matches('/').count() == 3),
            "a parent is missing: {answer:?}"
        );
        for (condition, change) in OPTIONAL_PARTS {
            let mut pod = plain();
            change(&mut pod);
            let added = differences(&sidecar, &container(&answer_to(&example, &pod)), "");
            // The user is not shown by default.
            assert_eq!(added.is_empty(), condition.starts_with("variables.user"), "{condition}: {added:?}");
        }
    }
}
