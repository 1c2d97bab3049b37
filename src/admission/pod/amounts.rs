//! Requests or limits as a pod declares them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};

use super::text::BorrowedText;
use crate::admission::{namespaces::Resource, quantity::Quantity};

/// The amount of each [`Resource`], and whether any resource is declared, GPUs included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeclaredAmounts {
    by_resource: [Option<Quantity>; 3],
    pub(super) is_any: bool,
}

// === impl DeclaredAmounts ===

impl DeclaredAmounts {
    /// The amount of a resource.
    pub(crate) const fn of(&self, resource: Resource) -> Option<Quantity> {
        self.by_resource[resource as usize]
    }
}

impl<'de> Deserialize<'de> for DeclaredAmounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountsVisitor;

        impl<'de> de::Visitor<'de> for AmountsVisitor {
            type Value = DeclaredAmounts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of quantities")
            }

            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<DeclaredAmounts, M::Error> {
                let mut amounts = DeclaredAmounts::default();
                while let Some(BorrowedText(name)) = map.next_key()? {
                    amounts.is_any = true;
                    match Resource::parse(&name) {
                        Some(resource) => amounts.by_resource[resource as usize] = map.next_value()?,
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(amounts)
            }
        }

        deserializer.deserialize_map(AmountsVisitor)
    }
}
