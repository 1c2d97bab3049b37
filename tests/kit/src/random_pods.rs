//! Random pods. They vary everything that admission depends on, in every form that the API server accepts, and have unknown
//! fields at every level. About half of them can be injected.

mod tables;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use tables::*;

/// A strategy for a field of an object: a name and a value, or no field.
type Field = BoxedStrategy<Option<(String, Value)>>;

/// Marks a JSON number that fits no machine type: a [`Value`] has it as a string that begins with this character, and [`text`]
/// writes it as a number.
const NUMBER: char = '\u{e000}';

/// A pod that the API server accepts.
pub fn valid() -> BoxedStrategy<Value> {
    object(vec![
        field(0.1, "apiVersion", just(json!("v1"))),
        field(
            0.95,
            "metadata",
            object(vec![
                field(0.5, "name", just(json!("alice"))),
                field(0.3, "generateName", just(json!("desktop-"))),
                field(0.7, "labels", map(LABELS, DECIDING_LABELS)),
                field(0.7, "annotations", map(ANNOTATIONS, DECIDING_ANNOTATIONS)),
            ]),
        ),
        always(
            "spec",
            prop_oneof![
                1 => spec(any_of(GUARANTEED)),
                1 => spec(any_of(BEST_EFFORT)),
                2 => spec(any_of(BURSTABLE)),
            ],
        ),
        field(0.05, "status", just(json!({"phase": "Pending"}))),
    ])
}

/// A pod in which one value may have a wrong type.
pub fn possibly_invalid() -> BoxedStrategy<Value> {
    let invalid = (any::<prop::sample::Index>(), select(VALUES_OF_EVERY_TYPE));
    (valid(), option::weighted(0.3, invalid))
        .prop_map(|(mut pod, invalid)| {
            if let Some((index, (_, json))) = invalid {
                let mut paths = vec![];
                pointers(&pod, "", &mut paths);
                let path: &String = index.get(&paths);
                if let Some(value) = pod.pointer_mut(path) {
                    *value = read(json);
                }
            }
            pod
        })
        .boxed()
}

/// The document as text, with its oversized numbers written as numbers.
pub fn text(document: &Value) -> String {
    let (text, mark) = (document.to_string(), format!("\"{NUMBER}"));
    let mut parts = text.split(&mark);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (number, rest) = part.split_once('"').unwrap_or((part, ""));
        text + number + rest
    })
}

fn spec(resources: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let claims = any_of(&[(
        "",
        r#"[{"name": "gpu", "resourceClaimTemplateName": "one"}, {"name": "spare", "resourceClaimName": "two"}]"#,
    )]);
    object(vec![
        always("containers", vec(container(resources.clone(), any_of(DESKTOPS)), 1..3).prop_map(Value::from)),
        field(0.4, "initContainers", list(container(resources, any_of(INITS)))),
        field(0.4, "volumes", list(any_of(VOLUMES))),
        field(0.25, "resourceClaims", claims),
        field(0.12, "resources", any_of(POD_RESOURCES)),
        field(0.3, "imagePullSecrets", list(any_of(PULL_SECRETS))),
        any_field(0.3, DECIDING_FIELDS),
        any_field(0.5, OTHER_FIELDS),
        any_field(0.5, OTHER_FIELDS),
    ])
}

/// A container. `base` has its name and the fields that only this kind of container has.
fn container(resources: BoxedStrategy<Value>, base: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let rest = object(vec![
        field(0.3, "ports", list(any_of(PORTS))),
        field(0.9, "resources", resources),
        field(0.2, "env", list(any_of(ENVIRONMENT))),
        field(0.2, "volumeMounts", list(any_of(MOUNTS))),
        any_field(0.3, CONTAINER_FIELDS),
    ]);
    (base, rest).prop_map(|(base, rest)| merged(base, rest)).boxed()
}

fn merged(mut base: Value, rest: Value) -> Value {
    if let (Value::Object(base), Value::Object(rest)) = (&mut base, rest) {
        base.extend(rest);
    }
    base
}

/// An object of these fields, sometimes with an unknown field.
fn object(mut fields: Vec<Field>) -> BoxedStrategy<Value> {
    fields.push(any_field(0.1, UNKNOWN));
    fields.push(option::weighted(0.05, ("future[A-Z~/]{1,3}", json_value())).boxed());
    fields.prop_map(|fields| fields.into_iter().flatten().collect::<Map<_, _>>().into()).boxed()
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = select(VALUES_OF_EVERY_TYPE).prop_map(|(_, json)| read(json));
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z./~]{1,8}", inner), 0..3)
                .prop_map(|pairs| pairs.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

/// Labels or annotations, in 3 of 10 cases with a key that decides whether the pod is injected.
fn map(plain: &'static [Row], deciding: &'static [Row]) -> BoxedStrategy<Value> {
    let pair = |rows| select(rows).prop_map(|(key, value): Row| (key.to_owned(), Value::from(value)));
    let plain = vec(pair(plain), 0..5).boxed();
    let pairs = (plain, option::weighted(0.3, pair(deciding)));
    let map =
        pairs.prop_map(|(plain, deciding)| plain.into_iter().chain(deciding).collect::<Map<_, _>>().into());
    nullable(map.boxed(), json!({}))
}

fn list(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    nullable(vec(item, 1..3).prop_map(Value::from).boxed(), json!([]))
}

fn nullable(value: BoxedStrategy<Value>, empty: Value) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 1 => Just(empty), 14 => value].boxed()
}

fn just(value: Value) -> BoxedStrategy<Value> {
    Just(value).boxed()
}

fn always(name: &'static str, value: impl Strategy<Value = Value> + 'static) -> Field {
    value.prop_map(move |value| Some((name.to_owned(), value))).boxed()
}

fn field(chance: f64, name: &'static str, value: BoxedStrategy<Value>) -> Field {
    option::weighted(chance, value.prop_map(move |value| (name.to_owned(), value))).boxed()
}

/// A row of a table as a field.
fn any_field(chance: f64, rows: &'static [Row]) -> Field {
    option::weighted(chance, select(rows).prop_map(|(name, json)| (name.to_owned(), read(json)))).boxed()
}

/// The JSON of one row of a table whose names are empty.
fn any_of(rows: &'static [Row]) -> BoxedStrategy<Value> {
    select(rows).prop_map(|(_, json)| read(json)).boxed()
}

fn read(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The JSON pointers to all values in the document, without the document itself.
fn pointers(document: &Value, path: &str, paths: &mut Vec<String>) {
    let entries: Vec<(String, &Value)> = match document {
        Value::Object(map) => map.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect(),
        Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => vec![],
    };
    for (key, value) in entries {
        let pointer = format!("{path}/{key}");
        pointers(value, &pointer, paths);
        paths.push(pointer);
    }
}
