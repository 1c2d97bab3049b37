//! The opted-in pods that have no sidecar.

use std::{collections::BTreeMap, mem, ops::Bound};

use super::{
    judge::{self, ControllerMetadata, OptIn, OptInTimes, PodMetadata, WebhookMark},
    reason::NoSidecarReason,
};
use crate::admission::{SkipReason, selection::WebhookEntry};

/// The pods that count, and what decides why they have no sidecar.
#[derive(Debug)]
pub(super) struct CoverageStore {
    webhooks: Vec<WebhookEntry>,
    /// Since when each opted-in namespace is opted in, in Unix seconds.
    namespaces: Listed<i64>,
    /// By UID.
    pods: Listed<UncoveredPod>,
    /// Creation of the webhook configuration, by its name.
    configurations: Listed<i64>,
    version: u64,
}

/// Objects of a watch.
#[derive(Debug)]
struct Listed<T> {
    current: BTreeMap<String, T>,
    /// The list that the watch is receiving. `current` stays unchanged until this list is complete.
    next: Option<BTreeMap<String, T>>,
    /// Whether the watch has received a complete list.
    is_complete: bool,
}

/// A pod that counts.
#[derive(Debug)]
pub(super) struct UncoveredPod {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    created: i64,
    opt_in: OptIn,
    mark: WebhookMark,
    controller: Option<Box<Subject>>,
}

/// The object that gets an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) api_version: Box<str>,
    pub(super) kind: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
}

// === impl CoverageStore ===

impl CoverageStore {
    /// A store for the pods that these entries of a webhook configuration select.
    pub(super) const fn new(webhooks: Vec<WebhookEntry>) -> Self {
        Self {
            webhooks,
            namespaces: Listed::new(),
            pods: Listed::new(),
            configurations: Listed::new(),
            version: 0,
        }
    }

    /// Whether every watch has received its objects.
    pub(super) const fn is_complete(&self) -> bool {
        self.knows_namespaces() && self.pods.is_complete && self.configurations.is_complete
    }

    /// Whether the watch of namespaces has received a complete list.
    pub(super) const fn knows_namespaces(&self) -> bool {
        self.namespaces.is_complete
    }

    /// Grows with each change.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// The number of pods by reason; empty before the store is complete.
    pub(super) fn counts(&self) -> BTreeMap<NoSidecarReason, u64> {
        if !self.is_complete() {
            return BTreeMap::new();
        }
        let mut counts: BTreeMap<_, _> = NoSidecarReason::ALL.map(|reason| (reason, 0)).into();
        for (_, pod) in self.pods() {
            *counts.entry(self.reason(pod)).or_default() += 1;
        }
        counts
    }

    /// The pods by UID.
    pub(super) fn pods(&self) -> impl Iterator<Item = (&str, &UncoveredPod)> {
        self.pods.current.iter().map(|(uid, pod)| (uid.as_str(), pod))
    }

    /// The pods by UID, beginning with this UID. The pods before it are the last ones.
    pub(super) fn pods_from(&self, uid: &str) -> impl Iterator<Item = (&str, &UncoveredPod)> {
        let later = self.pods.current.range::<str, _>((Bound::Included(uid), Bound::Unbounded));
        let earlier = self.pods.current.range::<str, _>((Bound::Unbounded, Bound::Excluded(uid)));
        later.chain(earlier).map(|(uid, pod)| (uid.as_str(), pod))
    }

    /// Why a pod of the store has no sidecar.
    pub(super) fn reason(&self, pod: &UncoveredPod) -> NoSidecarReason {
        let namespace = match pod.opt_in {
            OptIn::Namespace => self.namespaces.current.get(&*pod.namespace).copied(),
            OptIn::Pod => None,
        };
        let times = OptInTimes { namespace, webhook: self.configurations.current.values().copied().max() };
        judge::reason(pod.created, matches!(pod.mark, WebhookMark::Skipped(_)), times)
    }

    pub(super) fn begin_configurations(&mut self) {
        self.configurations.next = Some(BTreeMap::new());
    }

    /// Applies the webhook configuration, with its creation in Unix seconds.
    pub(super) fn configuration_seen(&mut self, name: &str, created: i64) {
        self.configurations.receiving().insert(name.to_owned(), created);
        self.version += 1;
    }

    pub(super) fn end_configurations(&mut self) {
        self.configurations.end();
        self.version += 1;
    }

    pub(super) fn configuration_gone(&mut self, name: &str) {
        self.configurations.current.remove(name);
        self.version += 1;
    }

    /// The configuration cannot be read, for example without the right. Nothing waits for it.
    pub(super) const fn skip_configurations(&mut self) {
        self.configurations.is_complete = true;
    }

    pub(super) fn begin_namespaces(&mut self) {
        self.namespaces.next = Some(BTreeMap::new());
    }

    /// Applies an opted-in namespace of a list.
    pub(super) fn namespace_listed(&mut self, name: &str, since: i64) {
        let since = self.earliest(name, since);
        self.namespaces.receiving().insert(name.to_owned(), since);
        self.version += 1;
    }

    /// Applies a change of an opted-in namespace. Returns whether its pods must be listed.
    pub(super) fn namespace_seen(&mut self, name: &str, since: i64) -> bool {
        let since = self.earliest(name, since);
        self.version += 1;
        self.namespaces.current.insert(name.to_owned(), since).is_none()
    }

    /// While a namespace stays opted in, the earliest time is the nearest to the change of its label.
    fn earliest(&self, name: &str, since: i64) -> i64 {
        self.namespaces.current.get(name).map_or(since, |earlier| since.min(*earlier))
    }

    /// Ends the list. Returns the namespaces whose pods must be listed.
    pub(super) fn end_namespaces(&mut self) -> Vec<String> {
        let is_first = !self.namespaces.is_complete;
        let earlier = self.namespaces.end();
        let names = self.namespaces.current.keys();
        // The first list of pods is later, so it has the pods of every namespace of the first list.
        let new = names.filter(|name| !is_first && !earlier.contains_key(*name)).cloned().collect();
        for name in earlier.keys().filter(|name| !self.namespaces.current.contains_key(*name)) {
            remove_opted_in_by(&mut self.pods, name);
        }
        self.version += 1;
        new
    }

    /// The namespace is not opted in any more.
    pub(super) fn namespace_gone(&mut self, name: &str) {
        self.namespaces.current.remove(name);
        remove_opted_in_by(&mut self.pods, name);
        self.version += 1;
    }

    pub(super) fn begin_pods(&mut self) {
        self.pods.next = Some(BTreeMap::new());
    }

    /// Applies a pod of the watch.
    pub(super) fn pod_seen(&mut self, pod: &PodMetadata<'_>) {
        match self.judge(pod) {
            Some(uncovered) => drop(self.pods.receiving().insert(pod.uid.to_owned(), uncovered)),
            None if self.pods.receiving().remove(pod.uid).is_some() => {}
            None => return,
        }
        self.version += 1;
    }

    /// Adds a pod of the list of one namespace. The watch may be receiving a list that has passed this pod already.
    pub(super) fn pod_listed(&mut self, pod: &PodMetadata<'_>) {
        if self.pods.next.is_some()
            && let Some(uncovered) = self.judge(pod)
        {
            self.pods.current.insert(pod.uid.to_owned(), uncovered);
        }
        self.pod_seen(pod);
    }

    pub(super) fn end_pods(&mut self) {
        self.pods.end();
        self.version += 1;
    }

    /// The pod was removed, has ended, or has the label of the sidecar now.
    pub(super) fn pod_gone(&mut self, uid: &str) {
        if self.pods.current.remove(uid).is_some() {
            self.version += 1;
        }
    }

    /// The pod for the store, if it counts.
    fn judge(&self, pod: &PodMetadata<'_>) -> Option<UncoveredPod> {
        let namespace_opted_in = self.namespaces.current.contains_key(pod.namespace);
        let opt_in = judge::opt_in(&self.webhooks, pod, namespace_opted_in)?;
        let mark = judge::mark(pod);
        let has_opted_out = mark == WebhookMark::Skipped(Some(SkipReason::OptedOut));
        if pod.is_terminating || mark == WebhookMark::Injected || has_opted_out {
            return None;
        }
        Some(UncoveredPod {
            namespace: pod.namespace.into(),
            name: pod.name.into(),
            created: pod.created,
            opt_in,
            mark,
            controller: pod.controller.map(|controller| Box::new(Subject::from(controller))),
        })
    }
}

/// Removes the pods of a namespace that only the namespace's label has opted in.
fn remove_opted_in_by(pods: &mut Listed<UncoveredPod>, namespace: &str) {
    for pods in [Some(&mut pods.current), pods.next.as_mut()].into_iter().flatten() {
        pods.retain(|_, pod| &*pod.namespace != namespace || pod.opt_in == OptIn::Pod);
    }
}

// === impl Listed ===

impl<T> Listed<T> {
    const fn new() -> Self {
        Self { current: BTreeMap::new(), next: None, is_complete: false }
    }

    /// The objects that an event changes.
    fn receiving(&mut self) -> &mut BTreeMap<String, T> {
        self.next.as_mut().unwrap_or(&mut self.current)
    }

    /// Ends the list. Returns the earlier objects.
    fn end(&mut self) -> BTreeMap<String, T> {
        self.is_complete = true;
        mem::replace(&mut self.current, self.next.take().unwrap_or_default())
    }
}

// === impl UncoveredPod ===

impl UncoveredPod {
    /// The UID of the object that gets the Event.
    pub(super) fn subject_uid<'p>(&'p self, own: &'p str) -> &'p str {
        self.controller.as_ref().map_or(own, |controller| &controller.uid)
    }

    /// The object that gets the Event: the controller of the pod, otherwise the pod.
    pub(super) fn subject(&self, uid: &str) -> Subject {
        let pod = || Subject {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: self.name.clone(),
            uid: uid.into(),
        };
        self.controller.as_deref().cloned().unwrap_or_else(pod)
    }

    /// The skip reason of the webhook.
    pub(super) const fn skip_reason(&self) -> Option<SkipReason> {
        match self.mark {
            WebhookMark::Skipped(reason) => reason,
            WebhookMark::Absent | WebhookMark::Injected => None,
        }
    }
}

// === impl Subject ===

impl From<ControllerMetadata<'_>> for Subject {
    fn from(controller: ControllerMetadata<'_>) -> Self {
        let ControllerMetadata { api_version, kind, name, uid } = controller;
        Self { api_version: api_version.into(), kind: kind.into(), name: name.into(), uid: uid.into() }
    }
}
