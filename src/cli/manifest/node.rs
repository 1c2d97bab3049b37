//! The tree of a document. It keeps the order of keys and the text of numbers.

use std::ops::Range;

use serde::{Serialize, Serializer, ser::Error};
use serde_json::value::RawValue;

use super::scalar::{self, Scalar, resolve};

/// A value, with its position in the text if it was read from a text.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Node {
    pub(in crate::cli) value: NodeValue,
    pub(super) source: Option<Origin>,
    /// Text from the end of the key to the end of the value, if the value is null or empty.
    pub(super) spelling: Option<Box<str>>,
}

/// The value of a node. Two values are equal if types, order and the text of scalars are equal.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) enum NodeValue {
    /// Null, a bool or a number, as written.
    Plain(String),
    /// A string.
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Entry {
    pub(in crate::cli) key: String,
    pub(in crate::cli) value: Node,
    /// Position of the key in the text.
    pub(super) source: Option<Range<usize>>,
}

/// Position of a node in the text.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) span: Range<usize>,
    /// Whether the node is in flow style, with brackets.
    pub(super) flow: bool,
    /// Whether the text is an alias; the value is written at another position.
    pub(super) alias: bool,
}

// === impl Node ===

impl Node {
    pub(in crate::cli) fn text(text: impl Into<String>) -> Self {
        NodeValue::Text(text.into()).into()
    }

    pub(in crate::cli) fn map() -> Self {
        NodeValue::Map(vec![]).into()
    }

    /// Text after the key, with the colon; none if the value is not null or empty. The check is necessary, because a map that was
    /// empty and is filled still has its old text.
    pub(in crate::cli) fn spelling(&self) -> Option<&str> {
        self.spelling.as_deref().filter(|_| self.is_null_or_empty())
    }

    pub(super) fn read(value: NodeValue, source: Origin) -> Self {
        Self { value, source: Some(source), spelling: None }
    }

    pub(in crate::cli) fn is_null(&self) -> bool {
        matches!(&self.value, NodeValue::Plain(plain) if resolve(plain) == Some(Scalar::Null))
    }

    /// Whether the node is null or an empty list or map. Kubernetes treats it as absent.
    pub(in crate::cli) fn is_null_or_empty(&self) -> bool {
        self.is_null()
            || self.items().is_some_and(<[_]>::is_empty)
            || self.entries().is_some_and(<[_]>::is_empty)
    }

    pub(in crate::cli) fn as_str(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a scalar, for messages.
    pub(in crate::cli) fn scalar_text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text(text) | NodeValue::Plain(text) => Some(text),
            _ => None,
        }
    }

    pub(in crate::cli) fn items(&self) -> Option<&[Self]> {
        match &self.value {
            NodeValue::List(items) => Some(items),
            _ => None,
        }
    }

    pub(in crate::cli) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            NodeValue::Map(entries) => Some(entries),
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
            NodeValue::List(items) => items.get(step.as_ref().parse::<usize>().ok()?),
            _ => node.get(step.as_ref()),
        })
    }

    /// Position of the key or item at the end of a path. If the text does not have it, the position of its nearest parent.
    pub(super) fn position(&self, path: &[String]) -> Option<usize> {
        let (step, rest) = path.split_first()?;
        let entry = self.entries().unwrap_or_default().iter().find(|entry| entry.key == *step);
        let (at, child) = match entry {
            Some(entry) => (entry.source.as_ref().map(|span| span.start), &entry.value),
            None => (None, self.items()?.get(step.parse::<usize>().ok()?)?),
        };
        let at = at.or_else(|| child.source.as_ref().map(|origin| origin.span.start));
        child.position(rest).or(at)
    }

    /// Mutable access to the node at the end of a path of keys and indices.
    pub(in crate::cli) fn at_mut<'n>(&'n mut self, path: &[impl AsRef<str>]) -> Option<&'n mut Self> {
        path.iter().try_fold(self, |node, step| match &mut node.value {
            NodeValue::List(items) => items.get_mut(step.as_ref().parse::<usize>().ok()?),
            NodeValue::Map(entries) => {
                entries.iter_mut().find(|entry| entry.key == step.as_ref()).map(|entry| &mut entry.value)
            }
            _ => None,
        })
    }

    /// The `add` operation of JSON Patch. `None` if the parent does not exist or is not a map or list that takes this key.
    pub(in crate::cli) fn add(&mut self, path: &[impl AsRef<str>], value: Self) -> Option<()> {
        let (last, parent) = path.split_last()?;
        let last = last.as_ref();
        match &mut self.at_mut(parent)?.value {
            NodeValue::Map(entries) => match entries.iter_mut().find(|entry| entry.key == last) {
                Some(entry) => entry.value = value,
                None => entries.push(Entry { key: last.to_owned(), value, source: None }),
            },
            NodeValue::List(items) if last == "-" => items.push(value),
            NodeValue::List(items) => {
                let index = last.parse().ok().filter(|index| *index <= items.len())?;
                items.insert(index, value);
            }
            _ => return None,
        }
        Some(())
    }

    /// Removes the keys of a map for which `keep` is false. Returns whether any was removed.
    pub(in crate::cli) fn remove(&mut self, keep: impl Fn(&str, &Self) -> bool) -> bool {
        let NodeValue::Map(entries) = &mut self.value else { return false };
        let before = entries.len();
        entries.retain(|entry| keep(&entry.key, &entry.value));
        entries.len() < before
    }

    /// Removes the items of a list for which `keep` is false. Returns whether any was removed.
    pub(in crate::cli) fn remove_items(&mut self, keep: impl Fn(&Self) -> bool) -> bool {
        let NodeValue::List(items) = &mut self.value else { return false };
        let before = items.len();
        items.retain(keep);
        items.len() < before
    }

    /// The node as JSON, as kubectl would send it to the API server. Admission reads this JSON.
    pub(in crate::cli) fn json(&self) -> Vec<u8> {
        #[expect(
            clippy::expect_used,
            reason = "keys are strings, and the parser accepts only numbers that JSON can express"
        )]
        serde_json::to_vec(&Json { node: self, plain: scalar::sent }).expect("a JSON tree can be serialized")
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl From<NodeValue> for Node {
    fn from(value: NodeValue) -> Self {
        Self { value, source: None, spelling: None }
    }
}

/// Keys that usually come first in containers and volumes.
const FIRST: [&str; 2] = ["name", "image"];

/// Puts the usual keys of containers and volumes first.
impl From<&serde_json::Value> for Node {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let entry =
            |(key, value): (&String, &Json)| Entry { key: key.clone(), value: value.into(), source: None };
        let value = match json {
            Json::String(text) => NodeValue::Text(text.clone()),
            Json::Array(items) => NodeValue::List(items.iter().map(Self::from).collect()),
            Json::Object(map) => {
                let first = FIRST.iter().filter_map(|key| map.get_key_value(*key));
                let rest = map.iter().filter(|(key, _)| !FIRST.contains(&&***key));
                NodeValue::Map(first.chain(rest).map(entry).collect())
            }
            scalar => NodeValue::Plain(scalar.to_string()),
        };
        value.into()
    }
}

/// Keeps the digits of numbers.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Json { node: self, plain: scalar::spelled }.serialize(serializer)
    }
}

/// A node to serialize.
struct Json<'n> {
    node: &'n Node,
    /// JSON text of null, a bool or a number.
    plain: fn(&str) -> String,
}

// === impl Json ===

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = |node| Json { node, plain: self.plain };
        match &self.node.value {
            NodeValue::Text(text) => serializer.serialize_str(text),
            NodeValue::List(items) => serializer.collect_seq(items.iter().map(json)),
            NodeValue::Map(entries) => {
                serializer.collect_map(entries.iter().map(|entry| (&entry.key, json(&entry.value))))
            }
            NodeValue::Plain(plain) => {
                RawValue::from_string((self.plain)(plain)).map_err(S::Error::custom)?.serialize(serializer)
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
