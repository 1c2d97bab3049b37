//! The view of a pod that decisions are made on. It borrows from the request, holds what is looked at and nothing
//! else, and is never written back.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::IgnoredAny};

/// A pod as it stands in the request.
#[derive(Debug, Deserialize)]
pub(super) struct Pod<'a> {
    #[serde(borrow)]
    pub(super) metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    pub(super) spec: Spec<'a>,
}

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

pub(super) type Map<'a> = BTreeMap<Text<'a>, Text<'a>>;

/// A string that is borrowed unless it was escaped. serde borrows a bare `Cow` as a field, not inside a map.
#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    #[serde(borrow)]
    pub(super) containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    pub(super) init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    pub(super) volumes: Option<Vec<Named<'a>>>,
    pub(super) host_network: Option<bool>,
    #[serde(borrow)]
    pub(super) os: Option<Named<'a>>,
    #[serde(borrow)]
    pub(super) node_selector: Option<Map<'a>>,
    #[serde(borrow)]
    pub(super) resources: Option<Resources<'a>>,
}

/// Resources of the pod as a whole.
#[derive(Debug, Deserialize)]
pub(super) struct Resources<'a> {
    #[serde(borrow)]
    requests: Option<BTreeMap<Text<'a>, IgnoredAny>>,
    #[serde(borrow)]
    limits: Option<BTreeMap<Text<'a>, IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Container<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) ports: Option<Vec<Port>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    pub(super) container_port: u16,
}

#[derive(Debug, Deserialize)]
pub(super) struct Named<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
}

// === impl Pod ===

impl<'a> Pod<'a> {
    /// The value of a label.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        value(self.metadata.as_ref()?.labels.as_ref()?, key)
    }

    /// The value of an annotation.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        value(self.metadata.as_ref()?.annotations.as_ref()?, key)
    }

    /// Regular and init containers.
    pub(super) fn containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.spec.containers.iter().chain(&self.spec.init_containers).flatten()
    }

    /// Whether the pod is bound for a Windows node, by its own word.
    pub(super) fn is_windows(&self) -> bool {
        let selected = self.spec.node_selector.as_ref().and_then(|labels| value(labels, "kubernetes.io/os"));
        selected == Some("windows") || self.spec.os.as_ref().is_some_and(|os| os.name == "windows")
    }
}

// === impl Resources ===

impl Resources<'_> {
    /// Whether any is set: to Kubernetes an empty object is none.
    pub(super) fn are_set(&self) -> bool {
        [&self.requests, &self.limits].into_iter().flatten().any(|map| !map.is_empty())
    }
}

fn value<'m>(map: &'m Map<'_>, key: &str) -> Option<&'m str> {
    // A handful of keys, and a lookup by &str would need Borrow between two wrappers.
    map.iter().find(|(name, _)| name.0 == key).map(|(_, value)| &*value.0)
}
