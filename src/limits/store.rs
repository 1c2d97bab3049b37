//! The parsed LimitRanges and ResourceQuotas of a cluster.

use std::{collections::BTreeMap, mem, sync::Arc};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use kube::{ResourceExt, runtime::watcher::Event};

use super::parse::{self, ParsedRange};
use crate::admission::{
    Namespaces,
    namespaces::{NamespaceLimits, Quota},
};

/// An event of one of the two watches.
#[derive(Debug)]
pub(super) enum LimitEvent {
    Range(Event<LimitRange>),
    Quota(Event<ResourceQuota>),
}

/// All parsed objects of the cluster.
#[derive(Debug, Default)]
pub(super) struct LimitStore {
    ranges: ObjectStore<ParsedRange>,
    quotas: ObjectStore<Quota>,
}

/// Parsed objects of one kind, by namespace and name.
#[derive(Debug)]
struct ObjectStore<T> {
    objects: BTreeMap<(String, String), T>,
    /// The list that the watch is receiving. `objects` stays unchanged until this list is complete.
    next: BTreeMap<(String, String), T>,
    /// Whether the watch has received a complete list.
    is_complete: bool,
}

/// The namespaces whose limits an event may have changed.
enum AffectedNamespaces {
    None,
    One(String),
    All,
}

/// Combines LimitRanges and ResourceQuotas that the caller has read without a watch.
#[must_use]
pub fn combine(ranges: &[LimitRange], quotas: &[ResourceQuota]) -> Namespaces {
    let entry = |object| (key(object), parse::range(object));
    let ranges = ObjectStore { objects: ranges.iter().map(entry).collect(), ..ObjectStore::default() };
    let entry = |object| (key(object), parse::quota(object));
    let quotas = ObjectStore { objects: quotas.iter().map(entry).collect(), ..ObjectStore::default() };
    LimitStore { ranges, quotas }.namespaces()
}

// === impl LimitStore ===

impl LimitStore {
    /// Applies an event and publishes the changed limits.
    pub(super) fn apply(&mut self, event: LimitEvent, published: &ArcSwap<Namespaces>) {
        let affected = match event {
            LimitEvent::Range(event) => self.ranges.apply(event, parse::range),
            LimitEvent::Quota(event) => self.quotas.apply(event, parse::quota),
        };
        match affected {
            AffectedNamespaces::None => {}
            AffectedNamespaces::All => published.store(Arc::new(self.namespaces())),
            AffectedNamespaces::One(name) => {
                let mut namespaces = Namespaces::clone(&published.load());
                match self.namespace(&name) {
                    Some(limits) => drop(namespaces.0.insert(name, Arc::new(limits))),
                    None => drop(namespaces.0.remove(&name)),
                }
                published.store(Arc::new(namespaces));
            }
        }
    }

    /// Whether both watches have received a complete list.
    pub(super) const fn is_complete(&self) -> bool {
        self.ranges.is_complete && self.quotas.is_complete
    }

    fn namespaces(&self) -> Namespaces {
        let names =
            self.ranges.objects.keys().chain(self.quotas.objects.keys()).map(|(namespace, _)| namespace);
        let limited = |name: &String| Some((name.clone(), Arc::new(self.namespace(name)?)));
        Namespaces(names.filter_map(limited).collect())
    }

    fn namespace(&self, name: &str) -> Option<NamespaceLimits> {
        let limits = parse::combine(self.ranges.of(name), self.quotas.of(name));
        (limits != NamespaceLimits::default()).then_some(limits)
    }
}

// === impl ObjectStore ===

impl<T> Default for ObjectStore<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), next: BTreeMap::new(), is_complete: false }
    }
}

impl<T> ObjectStore<T> {
    fn of(&self, namespace: &str) -> impl Iterator<Item = &T> {
        let from = (namespace.to_owned(), String::new());
        self.objects.range(from..).take_while(move |(key, _)| key.0 == namespace).map(|(_, object)| object)
    }

    fn apply<K: ResourceExt>(&mut self, event: Event<K>, parse: fn(&K) -> T) -> AffectedNamespaces {
        match event {
            Event::Init => {
                self.next.clear();
                AffectedNamespaces::None
            }
            Event::InitApply(object) => {
                self.next.insert(key(&object), parse(&object));
                AffectedNamespaces::None
            }
            Event::InitDone => {
                self.objects = mem::take(&mut self.next);
                self.is_complete = true;
                AffectedNamespaces::All
            }
            Event::Apply(object) => {
                self.objects.insert(key(&object), parse(&object));
                AffectedNamespaces::One(key(&object).0)
            }
            Event::Delete(object) => {
                self.objects.remove(&key(&object));
                AffectedNamespaces::One(key(&object).0)
            }
        }
    }
}

fn key(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}
