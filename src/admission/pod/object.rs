//! Values that must be JSON objects.

use std::{fmt, marker::PhantomData, ops::Deref};

use serde::{Deserialize, Deserializer, de};

/// A struct that is parsed from a JSON object only. serde would also read the fields of a struct from a JSON array, and a
/// patch cannot address the items of an array by name.
#[derive(Debug, Default)]
pub(crate) struct StrictObject<T>(T);

impl<T> Deref for StrictObject<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for StrictObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for ObjectVisitor<T> {
            type Value = StrictObject<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<M: de::MapAccess<'de>>(self, map: M) -> Result<StrictObject<T>, M::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(StrictObject)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}
