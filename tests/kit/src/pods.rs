//! Pods at random: everything that admission decides on, in every shape that the API server lets through, and fields
//! that no release knows yet at every level. About half of them are to be injected.

mod tables;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use tables::*;

/// What makes fields of an object: a name and a value, or nothing.
type Field = BoxedStrategy<Option<(String, Value)>>;

/// A JSON number that no machine type holds stands in a [`Value`] as a string that begins with this; [`text`] writes it
/// out.
const NUMBER: char = '\u{e000}';

/// A pod as the API server would take it.
pub fn sound() -> BoxedStrategy<Value> {
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

/// A pod in which, perhaps, one value is of another kind than it should be.
pub fn damaged() -> BoxedStrategy<Value> {
    let damage = (any::<prop::sample::Index>(), select(ODDITIES));
    (sound(), option::weighted(0.3, damage))
        .prop_map(|(mut pod, damage)| {
            if let Some((place, (_, odd))) = damage {
                let mut places = vec![];
                pointers(&pod, "", &mut places);
                let place: &String = place.get(&places);
                if let Some(value) = pod.pointer_mut(place) {
                    *value = read(odd);
                }
            }
            pod
        })
        .boxed()
}

/// The text of a document with its outsized numbers in it.
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
        any_field(0.3, DECIDING),
        any_field(0.5, INDIFFERENT),
        any_field(0.5, INDIFFERENT),
    ])
}

/// A container; `base` holds its name and what only its kind has.
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

/// An object of these fields, and now and then one that nobody knows.
fn object(mut fields: Vec<Field>) -> BoxedStrategy<Value> {
    fields.push(any_field(0.1, UNKNOWN));
    fields.push(option::weighted(0.05, ("future[A-Z~/]{1,3}", json_value())).boxed());
    fields.prop_map(|fields| fields.into_iter().flatten().collect::<Map<_, _>>().into()).boxed()
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = select(ODDITIES).prop_map(|(_, json)| read(json));
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z./~]{1,8}", inner), 0..3)
                .prop_map(|pairs| pairs.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

/// Labels or annotations, seldom with one among them that decides.
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

/// One row of a table as a field.
fn any_field(chance: f64, rows: &'static [Row]) -> Field {
    option::weighted(chance, select(rows).prop_map(|(name, json)| (name.to_owned(), read(json)))).boxed()
}

/// The JSON of one row of a table, in which the name says nothing.
fn any_of(rows: &'static [Row]) -> BoxedStrategy<Value> {
    select(rows).prop_map(|(_, json)| read(json)).boxed()
}

fn read(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The JSON pointers to every value of the document but the whole.
fn pointers(document: &Value, at: &str, found: &mut Vec<String>) {
    let entries: Vec<(String, &Value)> = match document {
        Value::Object(map) => map.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect(),
        Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => vec![],
    };
    for (key, value) in entries {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, found);
        found.push(pointer);
    }
}
