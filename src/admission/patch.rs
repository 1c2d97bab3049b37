//! From a decision to a JSON Patch that is proven before it leaves the process.
//!
//! A patch that does not apply has the pod refused even under `failurePolicy: Ignore`, so parents that are missing are
//! created, nothing but `add` is used, and the whole is tried first: on a skeleton of the pod, those of its parts that the
//! patch touches, which is all that the outcome depends on.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use json_patch::{AddOperation, Patch, PatchError, PatchOperation, jsonptr::PointerBuf};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Injector,
    container::{self, Container},
    decide::Plan,
    pod::Pod,
    reason::{Outcome, SkipReason},
    settings::Mode,
};
use crate::contract::{METRICS_PATH, key};

/// What is added to a pod, in the order in which it applies.
#[derive(Debug, Default)]
pub(super) struct Additions {
    paths: Vec<Cow<'static, str>>,
    /// The patch as it is sent.
    json: Vec<u8>,
}

/// Patches that were proven before. Whether one applies depends on its paths and on which of their parents exist, so pods
/// of the same shape need one proof.
#[derive(Debug)]
pub(super) struct Proofs([AtomicU64; 64]);

// === impl Additions ===

impl Additions {
    /// The sidecar and the marks that go with it.
    pub(super) fn inject(pod: &Pod<'_>, plan: &Plan<'_>, injector: &Injector) -> Self {
        let mut added = Self::default();
        let policy = injector.settings().sidecar.image_pull_policy;
        let port = plan.port.to_string();
        let status = Outcome::Injected.to_string();
        let mut annotations = vec![(key::CONFIG, injector.hash()), (key::STATUS, &*status)];
        if plan.scrape {
            annotations.extend([(SCRAPE, "true"), (SCRAPE_PORT, &*port), (SCRAPE_PATH, METRICS_PATH)]);
        }
        added.metadata(pod);
        added.label(pod);
        added.annotations(pod, &annotations);
        let (list, exists) = match plan.mode {
            Mode::Native => (INIT_CONTAINERS, pod.spec.init_containers.is_some()),
            Mode::Container => (CONTAINERS, pod.spec.containers.is_some()),
        };
        added.extend_list(list, exists, &[Container::of(plan, policy)]);
        added.volume(pod);
        let secrets: Vec<_> = plan.pull_secrets.iter().map(|name| json!({"name": name})).collect();
        added.extend_list(PULL_SECRETS, pod.spec.image_pull_secrets.is_some(), &secrets);
        added
    }

    /// The status annotation, where the pod was decided on and nothing says so already.
    pub(super) fn skip(pod: &Pod<'_>, reason: SkipReason) -> Self {
        let mut added = Self::default();
        let status = Outcome::Skipped(reason).to_string();
        if reason.is_marked() && pod.annotation(key::STATUS) != Some(&status) {
            added.metadata(pod);
            added.annotations(pod, &[(key::STATUS, &status)]);
        }
        added
    }

    /// The sidecar's volume.
    pub(super) fn volume(&mut self, pod: &Pod<'_>) {
        self.extend_list(VOLUMES, pod.spec.volumes.is_some(), &[container::volume()]);
    }

    /// The label that Services and the session watch select.
    pub(super) fn label(&mut self, pod: &Pod<'_>) {
        self.extend_map("/metadata/labels", pod.labels().is_some(), &[INJECTED]);
    }

    /// Adds one value at a path whose parents exist.
    pub(super) fn add(&mut self, path: impl Into<Cow<'static, str>>, value: &(impl Serialize + ?Sized)) {
        let path = path.into();
        match self.json.pop() {
            Some(_) => self.json.push(b','),
            None => {
                self.json.reserve(PATCH_SIZE);
                self.json.push(b'[');
            }
        }
        self.json.extend_from_slice(br#"{"op":"add","path":"#);
        self.write(&path);
        self.json.extend_from_slice(br#","value":"#);
        self.write(value);
        self.json.extend_from_slice(b"}]");
        self.paths.push(path);
    }

    fn write(&mut self, value: &(impl Serialize + ?Sized)) {
        #[expect(clippy::expect_used, reason = "string keys and derived types have no way to fail")]
        serde_json::to_writer(&mut self.json, value).expect("plain data serialises");
    }

    /// The patch as it is sent; empty where nothing is to be changed.
    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }

    /// Whether nothing is to be changed.
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Tries the operations on `document`.
    pub(super) fn prove(&self, mut document: Value) -> Result<(), PatchError> {
        // Of the values only their kind matters, and only where a later operation goes on inside: an object.
        let operation = |path: &Cow<'static, str>| {
            // Every path begins with a slash and has its keys escaped, which is all that a pointer asks for.
            let path = PointerBuf::parse(path.as_ref()).unwrap_or_default();
            PatchOperation::Add(AddOperation { path, value: json!({}) })
        };
        json_patch::patch(&mut document, &self.paths.iter().map(operation).collect::<Vec<_>>())
    }

    /// The operations as the library has them.
    pub(super) fn to_patch(&self) -> Option<Patch> {
        serde_json::from_slice(&self.json).ok()
    }

    fn metadata(&mut self, pod: &Pod<'_>) {
        if pod.metadata.is_none() {
            self.add("/metadata", &json!({}));
        }
    }

    fn annotations(&mut self, pod: &Pod<'_>, entries: &[(&str, &str)]) {
        self.extend_map("/metadata/annotations", pod.annotations().is_some(), entries);
    }

    /// One operation per key, or one that makes the map with all of them.
    fn extend_map(&mut self, path: &'static str, exists: bool, entries: &[(&str, &str)]) {
        if exists {
            for (key, value) in entries {
                self.add(below(path, key), value);
            }
        } else {
            let map: Map<_, _> =
                entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
            self.add(path, &map);
        }
    }

    /// Appends to the list, or makes it.
    fn extend_list<T: Serialize>(&mut self, (path, end): List, exists: bool, items: &[T]) {
        if exists {
            for item in items {
                self.add(end, item);
            }
        } else if !items.is_empty() {
            self.add(path, &items);
        }
    }
}

/// The pointer to a key of a map. Keys of ours have no tilde to escape.
fn below(map: &str, key: &str) -> String {
    let mut pointer = String::with_capacity(64);
    pointer.push_str(map);
    for (index, part) in key.split('/').enumerate() {
        pointer.push_str(if index == 0 { "/" } else { "~1" });
        pointer.push_str(part);
    }
    pointer
}

/// Key and value of the label.
pub(super) const INJECTED: (&str, &str) = (key::INJECTED, "true");

const SCRAPE: &str = "prometheus.io/scrape";
const SCRAPE_PORT: &str = "prometheus.io/port";
const SCRAPE_PATH: &str = "prometheus.io/path";

/// Where a list stands, and where its next item goes.
type List = (&'static str, &'static str);

const CONTAINERS: List = ("/spec/containers", "/spec/containers/-");
const INIT_CONTAINERS: List = ("/spec/initContainers", "/spec/initContainers/-");
const VOLUMES: List = ("/spec/volumes", "/spec/volumes/-");
const PULL_SECRETS: List = ("/spec/imagePullSecrets", "/spec/imagePullSecrets/-");

/// Room for an ordinary patch.
const PATCH_SIZE: usize = 3 << 10;

// === impl Proofs ===

impl Proofs {
    /// None yet.
    pub(super) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 64])
    }

    /// Tries the operations on the parts of the pod that they touch, unless they were proven on the same parts.
    pub(super) fn hold(&self, added: &Additions, pod: &Pod<'_>) -> Result<(), PatchError> {
        let mut hasher = DefaultHasher::new();
        (&added.paths, pod.metadata.is_some(), parents(pod).map(|(.., exists)| exists)).hash(&mut hasher);
        // Zero is an empty place.
        let proof = hasher.finish() | 1;
        let place = &self.0[(proof >> 58) as usize];
        if place.load(Ordering::Relaxed) != proof {
            added.prove(skeleton(pod))?;
            place.store(proof, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Parents that a pod may lack, and whether this one has them.
fn parents(pod: &Pod<'_>) -> [(&'static str, &'static str, bool); 6] {
    let spec = &pod.spec;
    [
        ("metadata", "labels", pod.labels().is_some()),
        ("metadata", "annotations", pod.annotations().is_some()),
        ("spec", "containers", spec.containers.is_some()),
        ("spec", "initContainers", spec.init_containers.is_some()),
        ("spec", "volumes", spec.volumes.is_some()),
        ("spec", "imagePullSecrets", spec.image_pull_secrets.is_some()),
    ]
}

/// The parts of a pod that an injection touches.
pub(super) fn skeleton(pod: &Pod<'_>) -> Value {
    let mut skeleton = json!({"spec": {}});
    if pod.metadata.is_some() {
        skeleton["metadata"] = json!({});
    }
    for (parent, name, _) in parents(pod).into_iter().filter(|(.., exists)| *exists) {
        skeleton[parent][name] = if parent == "spec" { json!([]) } else { json!({}) };
    }
    skeleton
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> Pod<'_> {
        serde_json::from_str(text).unwrap()
    }

    fn into_labels() -> Additions {
        let mut added = Additions::default();
        added.add("/metadata/labels/a", "b");
        added
    }

    #[test]
    fn a_patch_whose_parent_is_missing_is_held_back() {
        let proofs = Proofs::new();
        let bare = pod(r#"{"metadata": {}, "spec": {}}"#);
        for _ in 0..2 {
            assert!(proofs.hold(&into_labels(), &bare).is_err(), "what failed is no proof");
        }
    }

    #[test]
    fn a_proof_is_one_for_pods_of_its_shape_alone() {
        let proofs = Proofs::new();
        let labelled = pod(r#"{"metadata": {"labels": {}}, "spec": {}}"#);
        for _ in 0..2 {
            assert!(proofs.hold(&into_labels(), &labelled).is_ok());
        }
        for other in [
            r#"{"metadata": {}, "spec": {}}"#,
            r#"{"metadata": {"annotations": {}}, "spec": {}}"#,
            r#"{"spec": {}}"#,
        ] {
            assert!(proofs.hold(&into_labels(), &pod(other)).is_err(), "{other}");
        }
    }
}
