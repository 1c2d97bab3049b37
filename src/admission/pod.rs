//! The view of a pod that decisions are made on. It borrows from the request, holds what is looked at and nothing
//! else, and is never written back.

use std::{borrow::Cow, cell::OnceCell, fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny},
};
use serde_json::value::RawValue;

use super::quantity::Quantity;
use crate::contract::CONTAINER;

/// A pod as it stands in the request.
#[derive(Debug, Deserialize)]
pub(super) struct Pod<'a> {
    #[serde(borrow)]
    pub(super) metadata: Option<Object<Metadata<'a>>>,
    #[serde(borrow)]
    pub(super) spec: Object<Spec<'a>>,
}

/// What has to be an object with names. serde would read the fields of a struct from a list as well, and nothing in a list
/// can be patched by name.
#[derive(Debug, Default)]
pub(super) struct Object<T>(T);

/// Labels and annotations; `None` where the document has no such object to add to.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) labels: Option<Map<'a>>,
    #[serde(borrow)]
    pub(super) annotations: Option<Map<'a>>,
    #[serde(borrow, rename = "generateName")]
    pub(super) generate_name: Option<Cow<'a, str>>,
}

/// Labels or annotations in the order of the document: a handful, so a scan is faster than any index.
#[derive(Debug, Default)]
pub(super) struct Map<'a>(Vec<(Text<'a>, Lazy<'a>)>);

/// A text that is unescaped when somebody asks for it. Brokers keep whole documents in annotations that nobody here reads.
#[derive(Debug)]
pub(super) struct Lazy<'a> {
    written: &'a str,
    text: OnceCell<String>,
}

/// A string that is borrowed unless it was escaped. serde borrows a bare `Cow` as a field, not inside a list.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    #[serde(borrow)]
    pub(super) containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    pub(super) init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    pub(super) volumes: Option<Vec<Named<'a>>>,
    #[serde(borrow)]
    pub(super) image_pull_secrets: Option<Vec<Named<'a>>>,
    pub(super) host_network: Option<bool>,
    #[serde(borrow)]
    pub(super) os: Option<Named<'a>>,
    #[serde(borrow)]
    pub(super) node_selector: Option<Map<'a>>,
    #[serde(borrow)]
    pub(super) restart_policy: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) priority_class_name: Option<Cow<'a, str>>,
    pub(super) active_deadline_seconds: Option<i64>,
    #[serde(borrow)]
    pub(super) resources: Option<Resources<'a>>,
    #[serde(borrow)]
    pub(super) resource_claims: Option<Vec<PodClaim<'a>>>,
    pub(super) security_context: Option<PodSecurity>,
}

/// What containers inherit from the pod.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSecurity {
    pub(super) run_as_user: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) ports: Option<Vec<Port<'a>>>,
    #[serde(borrow)]
    pub(super) resources: Option<Resources<'a>>,
    #[serde(borrow)]
    pub(super) restart_policy: Option<Cow<'a, str>>,
}

/// Resources of a container or of the pod as a whole.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Resources<'a> {
    pub(super) requests: Option<Amounts>,
    pub(super) limits: Option<Amounts>,
    #[serde(borrow)]
    pub(super) claims: Option<Vec<Claim<'a>>>,
}

/// The resources that a sidecar could be in the way of, and whether there are any at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) cpu: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
    pub(super) storage: Option<Quantity>,
    any: bool,
}

/// One of the pod's resource claims.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodClaim<'a> {
    #[serde(borrow, default)]
    pub(super) name: Cow<'a, str>,
    /// One that was there before the pod, for whoever names it. Without, it is made from a template for this pod.
    #[serde(borrow)]
    pub(super) resource_claim_name: Option<Cow<'a, str>>,
}

/// A container's reference to one of the pod's resource claims: all fields that it has up to Kubernetes 1.37. What else may
/// stand there is not copied, since no text that is copied unread could be vouched for.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Claim<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port<'a> {
    pub(super) container_port: u16,
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Named<'a> {
    #[serde(borrow, default)]
    pub(super) name: Cow<'a, str>,
}

// === impl Pod ===

impl<'a> Pod<'a> {
    /// The value of a label.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels()?.value(key)
    }

    /// The value of an annotation.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations()?.value(key)
    }

    pub(super) fn labels(&self) -> Option<&Map<'a>> {
        self.metadata.as_ref()?.labels.as_ref()
    }

    pub(super) fn annotations(&self) -> Option<&Map<'a>> {
        self.metadata.as_ref()?.annotations.as_ref()
    }

    /// Regular and init containers.
    pub(super) fn containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.spec.containers.iter().chain(&self.spec.init_containers).flatten()
    }

    /// Those that are not ours.
    pub(super) fn others(&self) -> impl Iterator<Item = &Container<'a>> {
        self.containers().filter(|container| container.name != CONTAINER)
    }

    /// Whether the pod is bound for a Windows node, by its own word.
    pub(super) fn is_windows(&self) -> bool {
        let selected = self.spec.node_selector.as_ref().and_then(|labels| labels.value("kubernetes.io/os"));
        selected == Some("windows") || self.spec.os.as_ref().is_some_and(|os| os.name == "windows")
    }

    /// Resources of the pod as a whole: to Kubernetes an empty object is none.
    pub(super) fn resources(&self) -> Option<&Resources<'a>> {
        self.spec.resources.as_ref().filter(|resources| {
            [resources.requests, resources.limits].into_iter().flatten().any(|amounts| amounts.any)
        })
    }
}

// === impl Container ===

impl Container<'_> {
    /// Whether it runs beside the regular containers although it stands among the init containers.
    pub(super) fn is_restarted(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

// === impl Map ===

impl Map<'_> {
    /// The value of a key; of two, the later one, as the API server reads it.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Lazy<'_>)> {
        self.0.iter().map(|(key, value)| (&*key.0, value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Map<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> de::Visitor<'de> for Entries {
            type Value = Map<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<Map<'de>, M::Error> {
                let mut entries = Vec::with_capacity(8);
                while let Some((key, value)) = map.next_entry()? {
                    entries.push((key, value));
                }
                Ok(Map(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

// === impl Object ===

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Named<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: de::MapAccess<'de>>(self, map: M) -> Result<Object<T>, M::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Named(PhantomData))
    }
}

// === impl Lazy ===

impl<'de: 'a, 'a> Deserialize<'de> for Lazy<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = <&RawValue>::deserialize(deserializer)?.get();
        if !written.starts_with('"') && written != "null" {
            return Err(de::Error::custom("a label or annotation that is no string"));
        }
        Ok(Self { written, text: OnceCell::new() })
    }
}

impl Lazy<'_> {
    /// The text; empty where it is none, as the API server reads `null`.
    pub(super) fn as_str(&self) -> &str {
        let quoted = self.written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match quoted.filter(|text| !text.contains('\\')) {
            Some(plain) => plain,
            None => self.text.get_or_init(|| serde_json::from_str(self.written).unwrap_or_default()),
        }
    }
}

// === impl Amounts ===

impl<'de> Deserialize<'de> for Amounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName;

        impl<'de> de::Visitor<'de> for ByName {
            type Value = Amounts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of quantities")
            }

            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<Amounts, M::Error> {
                let mut amounts = Amounts::default();
                while let Some(Text(name)) = map.next_key()? {
                    amounts.any = true;
                    match &*name {
                        "cpu" => amounts.cpu = map.next_value()?,
                        "memory" => amounts.memory = map.next_value()?,
                        "ephemeral-storage" => amounts.storage = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(amounts)
            }
        }

        deserializer.deserialize_map(ByName)
    }
}
