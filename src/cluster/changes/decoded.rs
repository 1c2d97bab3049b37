//! Objects whose fields may not have the expected types.

use kube::{Resource, ResourceExt};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// An object, or the names of an object that cannot be decoded as `K` with the reason. The decoding of the list or event
/// that contains the object succeeds in both cases.
#[derive(Clone, Debug)]
pub(super) enum Decoded<K> {
    Object(K),
    Unreadable(ObjectNames, String),
}

/// What identifies an object. Empty fields could not be decoded either.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ObjectNames {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

#[derive(Deserialize)]
struct NamedObject {
    metadata: ObjectNames,
}

// === impl Decoded ===

impl<K: Resource> Decoded<K> {
    pub(super) fn version(&self) -> Option<u64> {
        match self {
            Self::Object(object) => object.resource_version()?.parse().ok(),
            Self::Unreadable(names, _) => names.resource_version.parse().ok(),
        }
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        Ok(match serde_json::from_str(json) {
            Ok(object) => Self::Object(object),
            Err(error) => {
                let names = serde_json::from_str(json).map(|object: NamedObject| object.metadata);
                Self::Unreadable(names.unwrap_or_default(), error.to_string())
            }
        })
    }
}
