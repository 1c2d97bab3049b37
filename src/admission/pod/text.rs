//! Strings that borrow from the request, and maps of them.

use std::{borrow::Cow, cell::OnceCell, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// Labels or annotations in the order of the document. There are few of them, so a linear search is faster than an index.
#[derive(Debug, Default)]
pub(crate) struct StringMap<'a>(Vec<(BorrowedText<'a>, LazyText<'a>)>);

/// A string that is unescaped at its first use. VDI brokers keep entire documents in annotations that admission never reads.
#[derive(Debug)]
pub(crate) struct LazyText<'a> {
    json: &'a str,
    unescaped: OnceCell<String>,
}

/// A string that is borrowed unless it has escapes. serde borrows a `Cow` if it is a field of a struct, but not inside a list.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct BorrowedText<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

// === impl StringMap ===

impl StringMap<'_> {
    /// The value of a key. If the key occurs twice, the later value counts, as for the API server.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    /// The bytes of all keys and of the JSON texts of all values.
    pub(crate) fn json_bytes(&self) -> usize {
        self.0.iter().map(|(key, value)| key.0.len() + value.json.len()).sum()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &LazyText<'_>)> {
        self.0.iter().map(|(key, value)| (&*key.0, value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for StringMap<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringMapVisitor;

        impl<'de> de::Visitor<'de> for StringMapVisitor {
            type Value = StringMap<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<StringMap<'de>, M::Error> {
                let mut entries = Vec::with_capacity(8);
                while let Some((key, value)) = map.next_entry()? {
                    entries.push((key, value));
                }
                Ok(StringMap(entries))
            }
        }

        deserializer.deserialize_map(StringMapVisitor)
    }
}

// === impl LazyText ===

impl<'de: 'a, 'a> Deserialize<'de> for LazyText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        if !json.starts_with('"') && json != "null" {
            return Err(de::Error::invalid_type(de::Unexpected::Other("another type"), &"a string"));
        }
        Ok(Self { json, unescaped: OnceCell::new() })
    }
}

impl LazyText<'_> {
    /// The string; empty for `null`, as for the API server.
    pub(crate) fn as_str(&self) -> &str {
        let quoted = self.json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match quoted.filter(|text| !text.contains('\\')) {
            Some(plain) => plain,
            None => self.unescaped.get_or_init(|| serde_json::from_str(self.json).unwrap_or_default()),
        }
    }
}
