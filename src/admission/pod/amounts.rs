//! Requests or limits as a pod declares them.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};
use serde_json::value::RawValue;

use super::text::BorrowedText;
use crate::admission::{namespaces::Resource, quantity::Quantity};

/// The amount of each [`Resource`], the extended resources, and whether any resource is declared.
#[derive(Debug, Default)]
pub(crate) struct DeclaredAmounts<'a> {
    by_resource: [Option<Quantity>; 3],
    /// Names of the extended resources, such as GPUs, whose amount is not 0.
    extended: Vec<Cow<'a, str>>,
    pub(super) is_any: bool,
}

// === impl DeclaredAmounts ===

impl<'a> DeclaredAmounts<'a> {
    /// The amount of a resource.
    pub(crate) const fn of(&self, resource: Resource) -> Option<Quantity> {
        self.by_resource[resource as usize]
    }

    /// Names of the extended resources whose amount is not 0.
    pub(crate) fn extended(&self) -> impl Iterator<Item = &str> {
        self.extended.iter().map(|name| &**name)
    }

    /// If the name occurs twice, the later amount counts, as for the API server.
    fn set_extended(&mut self, name: Cow<'a, str>, amount: &RawValue) {
        self.extended.retain(|known| *known != name);
        if !is_zero(amount.get()) {
            self.extended.push(name);
        }
    }
}

/// Whether the JSON value is the amount 0. The API server reads `null` as 0. An amount that cannot be parsed is not 0: the
/// API server rejects such a pod.
fn is_zero(json: &str) -> bool {
    json == "null" || Quantity::parse(json.trim_matches('"')) == Some(Quantity::default())
}

impl<'de: 'a, 'a> Deserialize<'de> for DeclaredAmounts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountsVisitor;

        impl<'de> de::Visitor<'de> for AmountsVisitor {
            type Value = DeclaredAmounts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of quantities")
            }

            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut amounts = DeclaredAmounts::default();
                while let Some(BorrowedText(name)) = map.next_key()? {
                    amounts.is_any = true;
                    match Resource::parse(&name) {
                        // As for the API server, null is 0.
                        Some(resource) => {
                            let amount = map.next_value::<Option<Quantity>>()?.unwrap_or_default();
                            amounts.by_resource[resource as usize] = Some(amount);
                        }
                        None if name.contains('/') => amounts.set_extended(name, map.next_value()?),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(amounts)
            }
        }

        deserializer.deserialize_map(AmountsVisitor)
    }
}
