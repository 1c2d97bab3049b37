//! What namespaces allow: their LimitRanges and ResourceQuotas, watched, and put together into the one immutable value that
//! admission reads. It retries for ever and never holds anything up.

mod read;

use std::{collections::BTreeMap, mem, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::{StreamExt, stream::select};
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};

use crate::admission::{
    Namespaces,
    namespaces::{Namespace, Quota},
};

use read::Range;

/// One change to what is known.
#[derive(Debug)]
enum Change {
    Range(Event<LimitRange>),
    Quota(Event<ResourceQuota>),
}

/// What the cluster holds.
#[derive(Debug, Default)]
struct Objects {
    ranges: Listed<Range>,
    quotas: Listed<Quota>,
}

/// What was read of the objects of one kind, by namespace and name.
#[derive(Debug)]
struct Listed<T> {
    known: BTreeMap<(String, String), T>,
    /// A list that is not complete yet: while it comes, the old is still the best there is.
    coming: BTreeMap<(String, String), T>,
    /// Whether a list was complete once.
    complete: bool,
}

/// Namespaces that are not what they were.
enum Changed {
    None,
    One(String),
    All,
}

/// Keeps `known` up to date, for as long as it is polled; calls `complete` once both lists are complete.
pub async fn follow(client: Client, known: &ArcSwap<Namespaces>, complete: impl FnOnce() + Send) {
    let config = watcher::Config::default;
    let ranges = watcher(Api::<LimitRange>::all(client.clone()), config()).default_backoff();
    let quotas = watcher(Api::<ResourceQuota>::all(client), config()).default_backoff();
    let ranges = ranges.map(|event| event.map(Change::Range));
    let quotas = quotas.map(|event| event.map(Change::Quota));
    let mut changes = Box::pin(select(ranges, quotas));
    let mut objects = Objects::default();
    let mut complete = Some(complete);
    while let Some(change) = changes.next().await {
        match change {
            Ok(change) => {
                objects.apply(change, known);
                let is_complete = objects.ranges.complete && objects.quotas.complete;
                if let Some(complete) = complete.take_if(|_| is_complete) {
                    complete();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "Cannot watch LimitRanges and ResourceQuotas, trying again");
            }
        }
    }
}

/// What these objects say together, for whoever has asked for them once.
#[must_use]
pub fn of(ranges: &[LimitRange], quotas: &[ResourceQuota]) -> Namespaces {
    let listed = |object| (place(object), read::range(object));
    let ranges = Listed { known: ranges.iter().map(listed).collect(), ..Listed::default() };
    let listed = |object| (place(object), read::quota(object));
    let quotas = Listed { known: quotas.iter().map(listed).collect(), ..Listed::default() };
    Objects { ranges, quotas }.namespaces()
}

// === impl Objects ===

impl Objects {
    fn apply(&mut self, change: Change, known: &ArcSwap<Namespaces>) {
        let changed = match change {
            Change::Range(event) => self.ranges.apply(event, read::range),
            Change::Quota(event) => self.quotas.apply(event, read::quota),
        };
        match changed {
            Changed::None => {}
            Changed::All => known.store(Arc::new(self.namespaces())),
            Changed::One(name) => {
                let mut namespaces = Namespaces::clone(&known.load());
                match self.namespace(&name) {
                    Some(namespace) => drop(namespaces.0.insert(name, Arc::new(namespace))),
                    None => drop(namespaces.0.remove(&name)),
                }
                known.store(Arc::new(namespaces));
            }
        }
    }

    fn namespaces(&self) -> Namespaces {
        let names = self.ranges.known.keys().chain(self.quotas.known.keys()).map(|(namespace, _)| namespace);
        let known = |name: &String| Some((name.clone(), Arc::new(self.namespace(name)?)));
        Namespaces(names.filter_map(known).collect())
    }

    fn namespace(&self, name: &str) -> Option<Namespace> {
        let namespace = read::namespace(self.ranges.of(name), self.quotas.of(name));
        (namespace != Namespace::default()).then_some(namespace)
    }
}

// === impl Listed ===

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), coming: BTreeMap::new(), complete: false }
    }
}

impl<T> Listed<T> {
    fn of(&self, namespace: &str) -> impl Iterator<Item = &T> {
        let from = (namespace.to_owned(), String::new());
        self.known.range(from..).take_while(move |(key, _)| key.0 == namespace).map(|(_, object)| object)
    }

    fn apply<K: ResourceExt>(&mut self, event: Event<K>, read: fn(&K) -> T) -> Changed {
        match event {
            Event::Init => {
                self.coming.clear();
                Changed::None
            }
            Event::InitApply(object) => {
                self.coming.insert(place(&object), read(&object));
                Changed::None
            }
            Event::InitDone => {
                self.known = mem::take(&mut self.coming);
                self.complete = true;
                Changed::All
            }
            Event::Apply(object) => {
                self.known.insert(place(&object), read(&object));
                Changed::One(place(&object).0)
            }
            Event::Delete(object) => {
                self.known.remove(&place(&object));
                Changed::One(place(&object).0)
            }
        }
    }
}

fn place(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}
