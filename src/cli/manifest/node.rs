//! The tree of a document: keys in order, numbers as they are spelt.

use std::ops::Range;

use serde::{Serialize, Serializer, ser::Error};
use serde_json::value::RawValue;

use super::scalar::resolve;

/// A value, and where it stands in the text if it was read from one.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Node {
    pub(in crate::cli) value: Value,
    pub(super) source: Option<Source>,
}

/// What a node is. Equality is of value, order and spelling of numbers.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) enum Value {
    /// Null, a bool or a number, as it is spelt.
    Plain(String),
    /// A string.
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map, and its value.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Entry {
    pub(in crate::cli) key: String,
    pub(in crate::cli) value: Node,
    /// Where the key stands.
    pub(super) source: Option<Range<usize>>,
}

/// A place in the text.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) span: Range<usize>,
    /// In brackets.
    pub(super) flow: bool,
    /// Written by an alias: its text is another node's.
    pub(super) alias: bool,
}

// === impl Node ===

impl Node {
    pub(in crate::cli) fn text(text: impl Into<String>) -> Self {
        Value::Text(text.into()).into()
    }

    pub(in crate::cli) fn map() -> Self {
        Value::Map(vec![]).into()
    }

    pub(in crate::cli) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Plain(plain) if resolve(plain).as_deref() == Some("null"))
    }

    /// Null, or a list or map without anything in it: to Kubernetes the same as nothing.
    pub(in crate::cli) fn is_void(&self) -> bool {
        self.is_null()
            || self.items().is_some_and(<[_]>::is_empty)
            || self.entries().is_some_and(<[_]>::is_empty)
    }

    pub(in crate::cli) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A scalar as it is spelt, for people.
    pub(in crate::cli) fn spelling(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Plain(text) => Some(text),
            _ => None,
        }
    }

    pub(in crate::cli) fn items(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub(in crate::cli) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key.
    pub(in crate::cli) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The node at the end of a path of keys and indices.
    pub(in crate::cli) fn at<'n>(&'n self, path: &[impl AsRef<str>]) -> Option<&'n Self> {
        path.iter().try_fold(self, |node, step| match &node.value {
            Value::List(items) => items.get(step.as_ref().parse::<usize>().ok()?),
            _ => node.get(step.as_ref()),
        })
    }

    /// The node at the end of a path of keys and indices, to be changed.
    pub(in crate::cli) fn at_mut<'n>(&'n mut self, path: &[impl AsRef<str>]) -> Option<&'n mut Self> {
        path.iter().try_fold(self, |node, step| match &mut node.value {
            Value::List(items) => items.get_mut(step.as_ref().parse::<usize>().ok()?),
            Value::Map(entries) => {
                entries.iter_mut().find(|entry| entry.key == step.as_ref()).map(|entry| &mut entry.value)
            }
            _ => None,
        })
    }

    /// JSON Patch's `add`. `None` where the parent is not there or takes no such step.
    pub(in crate::cli) fn add(&mut self, path: &[impl AsRef<str>], value: Self) -> Option<()> {
        let (last, parent) = path.split_last()?;
        let last = last.as_ref();
        match &mut self.at_mut(parent)?.value {
            Value::Map(entries) => match entries.iter_mut().find(|entry| entry.key == last) {
                Some(entry) => entry.value = value,
                None => entries.push(Entry { key: last.to_owned(), value, source: None }),
            },
            Value::List(items) if last == "-" => items.push(value),
            Value::List(items) => {
                let index = last.parse().ok().filter(|index| *index <= items.len())?;
                items.insert(index, value);
            }
            _ => return None,
        }
        Some(())
    }

    /// Takes keys out of a map; says whether any was there.
    pub(in crate::cli) fn remove(&mut self, leave: impl Fn(&str, &Self) -> bool) -> bool {
        let Value::Map(entries) = &mut self.value else { return false };
        let before = entries.len();
        entries.retain(|entry| leave(&entry.key, &entry.value));
        entries.len() < before
    }

    /// Takes items out of a list; says whether any was there.
    pub(in crate::cli) fn remove_items(&mut self, leave: impl Fn(&Self) -> bool) -> bool {
        let Value::List(items) = &mut self.value else { return false };
        let before = items.len();
        items.retain(leave);
        items.len() < before
    }

    /// As JSON, to be read by the admission core.
    pub(in crate::cli) fn json(&self) -> Vec<u8> {
        #[expect(
            clippy::expect_used,
            reason = "keys are strings, and numbers were found to be JSON's when they were read"
        )]
        serde_json::to_vec(self).expect("a tree of JSON serialises")
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self { value, source: None }
    }
}

/// What people begin containers and volumes with.
const FIRST: [&str; 2] = ["name", "image"];

/// In the order that people write containers and volumes in.
impl From<&serde_json::Value> for Node {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let entry =
            |(key, value): (&String, &Json)| Entry { key: key.clone(), value: value.into(), source: None };
        let value = match json {
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::from).collect()),
            Json::Object(map) => {
                let first = FIRST.iter().filter_map(|key| map.get_key_value(*key));
                let rest = map.iter().filter(|(key, _)| !FIRST.contains(&&***key));
                Value::Map(first.chain(rest).map(entry).collect())
            }
            scalar => Value::Plain(scalar.to_string()),
        };
        value.into()
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(items) => serializer.collect_seq(items),
            Value::Map(entries) => {
                serializer.collect_map(entries.iter().map(|entry| (&entry.key, &entry.value)))
            }
            Value::Plain(plain) => {
                let json = resolve(plain).unwrap_or_else(|| "null".to_owned());
                RawValue::from_string(json).map_err(S::Error::custom)?.serialize(serializer)
            }
        }
    }
}

// === impl Entry ===

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.value == other.value
    }
}
