//! What the webhook adds, in CEL: the [`Injector`]'s own answers to made-up pods, under made-up settings in which whatever
//! differs between pods is found again.

use json_patch::PatchOperation;
use serde_json::{Map, Value, json};

use super::cel::{Hole, add, literal, text, when};
use crate::{
    admission::{
        Injector, Namespaces, Settings,
        quantity::Quantity,
        settings::{Amounts, Resources, Sidecar},
    },
    contract::{env, key},
};

/// The operations: what the injector adds to the plain pod, then what it adds to the sidecars of others.
pub(super) fn of(injector: &Injector) -> Vec<String> {
    let example = Injector::new(stand_ins(injector.settings()));
    let holes = holes(injector, &example);
    let answer = answer_to(&example, &plain());
    let sidecar = container(&answer);
    let common = answer.iter().map(|(path, value)| {
        let (place, cel) = (text(path), literal(value, &holes));
        match &**path {
            CONTAINERS => add("variables.at", &literal(&sidecar, &holes)),
            PULL_SECRETS => when(&lacks_secret(&value["name"]), &add(&place, &cel)),
            path if path.starts_with(SCRAPING) => when("variables.unscraped", &add(&place, &cel)),
            _ => add(&place, &cel),
        }
    });
    let more = |(condition, change): &Part| -> Vec<_> {
        let mut pod = plain();
        change(&mut pod);
        let more = differences(&sidecar, &container(&answer_to(&example, &pod)), "");
        let place = |path| format!("variables.at + {}", text(path));
        more.iter()
            .map(|(path, value)| when(condition, &add(&place(path), &literal(value, &holes))))
            .collect()
    };
    common.chain(PARTS.iter().flat_map(more)).collect()
}

fn lacks_secret(name: &Value) -> String {
    format!("variables.pullSecrets.all(s, s.?name.orValue(\"\") != {name})")
}

const CONTAINERS: &str = "/spec/containers/-";
const PULL_SECRETS: &str = "/spec/imagePullSecrets/-";
const SCRAPING: &str = "/metadata/annotations/prometheus.io";

/// A part of the sidecar that not every pod's has: when it is there, and what makes the plain pod one that has it.
type Part = (&'static str, fn(&mut Value));

const PARTS: [Part; 9] = [
    ("variables.native", |pod| pod["metadata"]["annotations"][key::MODE] = json!("native")),
    ("variables.fixedUser", |pod| pod["spec"]["securityContext"] = json!({"runAsUser": 0})),
    ("variables.bounded", |pod| pod["spec"]["resources"] = json!({})),
    ("size(variables.claims) > 0", |pod| {
        pod["metadata"]["annotations"][key::GPU_ACCESS] = json!("claims");
        pod["spec"]["containers"][0]["resources"] = json!({"claims": [{"name": CLAIM}]});
        pod["spec"]["resourceClaims"] = json!([{"name": CLAIM}]);
    }),
    ("variables.gpuAccess == \"runtime\"", |pod| {
        pod["metadata"]["annotations"][key::GPU_ACCESS] = json!("runtime");
    }),
    ("variables.session != \"\"", |pod| pod["metadata"]["labels"][key::SESSION] = json!("any")),
    ("variables.template != \"\"", |pod| pod["metadata"]["labels"][key::TEMPLATE] = json!("any")),
    ("variables.pool != \"\"", |pod| pod["metadata"]["labels"][key::POOL] = json!("any")),
    ("variables.user != \"\"", |pod| pod["metadata"]["labels"][key::USER] = json!("any")),
];

/// A pod whose sidecar has none of the parts, and whose every parent exists.
fn plain() -> Value {
    json!({
        "metadata": {
            "labels": {},
            "annotations": {"openshift.io/scc": "any", (key::MODE): "container", (key::GPU_ACCESS): "none"},
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

/// The injector's answer: paths and values in order.
fn answer_to(injector: &Injector, pod: &Value) -> Vec<(String, Value)> {
    let verdict = injector.consider(pod.to_string().as_bytes(), "", &Namespaces::default());
    let operations = verdict.patch.map(|patch| patch.0).unwrap_or_default();
    let added = operations.into_iter().filter_map(|operation| match operation {
        PatchOperation::Add(added) => Some((added.path.to_string(), added.value)),
        _ => None,
    });
    added.collect()
}

/// The container of an answer, with a place for resources whether it has any or not.
fn container(answer: &[(String, Value)]) -> Value {
    let places = [CONTAINERS, "/spec/initContainers/-"];
    let found = answer.iter().find(|(path, _)| places.contains(&&**path));
    let mut container = found.map(|(_, value)| value.clone()).unwrap_or_default();
    if let Some(fields) = container.as_object_mut() {
        fields.entry("resources").or_insert_with(|| Map::new().into());
    }
    container
}

/// What `with` has and `without` has not: keys of objects and ends of lists, by JSON pointer.
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

/// A key as a part of a JSON pointer.
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

// === what stands for what differs between pods ===

/// Settings whose values are found again in the answer, because nothing else is like them.
fn stand_ins(settings: &Settings) -> Settings {
    let amounts =
        |cpu, memory| Amounts { cpu: Quantity::thousandths(cpu), memory: Quantity::mebibytes(memory) };
    let sidecar = Sidecar {
        image: IMAGE.to_owned(),
        port: PORT,
        interval_seconds: INTERVAL,
        resources: Resources { requests: amounts(3, 103), limits: amounts(4, 104) },
        ..settings.sidecar.clone()
    };
    Settings { sidecar, ..settings.clone() }
}

const IMAGE: &str = "stands.for/the-image";
const CLAIM: &str = "stands-for-the-claims";
const PORT: u16 = 65_533;
const INTERVAL: u64 = 299;

fn holes(injector: &Injector, example: &Injector) -> Vec<Hole> {
    let field = |key: &str| json!(format!("metadata.labels['{key}']"));
    let hole = |value: Value, expression: &str| Hole { value, expression: expression.to_owned() };
    vec![
        hole(json!(IMAGE), "variables.image"),
        hole(json!(PORT), "variables.port"),
        hole(json!(PORT.to_string()), "string(variables.port)"),
        hole(json!(format!("[::]:{PORT}")), "\"[::]:\" + string(variables.port)"),
        hole(json!(INTERVAL.to_string()), "string(variables.interval)"),
        // The plain pod's one and ours.
        Hole {
            value: json!({"name": env::CONTAINERS, "value": "2"}),
            expression: format!(
                "{{\"name\": {}, \"value\": string(size(variables.all) + 1)}}",
                text(env::CONTAINERS)
            ),
        },
        hole(json!("3m"), "variables.cpuRequest"),
        hole(json!("4m"), "variables.cpuLimit"),
        hole(json!("103Mi"), "variables.memoryRequest"),
        hole(json!("104Mi"), "variables.memoryLimit"),
        hole(json!([{"name": CLAIM}]), "variables.claims[0]"),
        hole(
            json!({"name": env::GPU_ACCESS, "value": "claims"}),
            &format!("{{\"name\": {}, \"value\": variables.claimAccess}}", text(env::GPU_ACCESS)),
        ),
        hole(field(key::SESSION), "variables.session"),
        hole(field(key::TEMPLATE), "variables.template"),
        hole(field(key::POOL), "variables.pool"),
        hole(field(key::USER), "variables.user"),
        Hole { value: json!(example.hash()), expression: text(injector.hash()) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_what_is_more() {
        let without = json!({"a": {"b": 1}, "list": [{"x": 1}], "same": "s"});
        let with =
            json!({"a": {"b": 1, "c/d": 2}, "list": [{"x": 1}, {"x": 2}], "same": "s", "new": {"n": 1}});
        let expected = [("/a/c~1d", json!(2)), ("/list/-", json!({"x": 2})), ("/new", json!({"n": 1}))];
        let found = differences(&without, &with, "");
        assert_eq!(found, expected.map(|(path, value)| (path.to_owned(), value)));
    }

    #[test]
    fn the_plain_pod_is_injected_and_has_none_of_the_parts() {
        let example = Injector::new(stand_ins(&Settings::default()));
        let answer = answer_to(&example, &plain());
        let sidecar = container(&answer);
        assert!(
            answer.iter().all(|(path, _)| path.matches('/').count() == 3),
            "a parent is missing: {answer:?}"
        );
        for (condition, change) in PARTS {
            let mut pod = plain();
            change(&mut pod);
            let more = differences(&sidecar, &container(&answer_to(&example, &pod)), "");
            // The user is not shown by default.
            assert_eq!(more.is_empty(), condition.starts_with("variables.user"), "{condition}: {more:?}");
        }
    }
}
