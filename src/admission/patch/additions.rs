//! Additions: the fields that the server adds to a pod, written as a JSON Patch.

use std::borrow::Cow;

use json_patch::{AddOperation, Patch, PatchError, PatchOperation, jsonptr::PointerBuf};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::size;
use crate::{
    admission::{
        container::{SidecarContainer, volume},
        decide::Plan,
        outcome::{Outcome, SkipReason},
        pod::PodView,
        ruleset::Ruleset,
        settings::Mode,
    },
    contract::{METRICS_PATH, key},
};

/// Additions to a pod, in the order in which they are applied.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    paths: Vec<Cow<'static, str>>,
    /// The serialised patch.
    json: Vec<u8>,
}

/// Key and value of the label on injected pods.
pub(super) const INJECTED: (&str, &str) = (key::INJECTED, "true");

const SCRAPE: &str = "prometheus.io/scrape";
const SCRAPE_PORT: &str = "prometheus.io/port";
const SCRAPE_PATH: &str = "prometheus.io/path";

/// JSON pointers of a list and of its next item.
type ListPath = (&'static str, &'static str);

const CONTAINERS: ListPath = ("/spec/containers", "/spec/containers/-");
const INIT_CONTAINERS: ListPath = ("/spec/initContainers", "/spec/initContainers/-");
const VOLUMES: ListPath = ("/spec/volumes", "/spec/volumes/-");
const PULL_SECRETS: ListPath = ("/spec/imagePullSecrets", "/spec/imagePullSecrets/-");

/// Initial buffer size; an ordinary patch fits.
const PATCH_SIZE: usize = 3 << 10;

// === impl Additions ===

impl Additions {
    /// The sidecar with its volume, label and annotations. Fails if the annotations exceed their limit, because the API server
    /// would reject the pod. All annotations are needed. By `vdi-metrics.io/config` the webhook recognises the sidecar in a
    /// second call, `vdi-metrics.io/status` shows why there is a sidecar, and Prometheus finds the sidecar by the others.
    pub(crate) fn inject(pod: &PodView<'_>, plan: &Plan<'_>, ruleset: &Ruleset) -> Result<Self, SkipReason> {
        let mut added = Self::default();
        let policy = ruleset.settings.sidecar.image_pull_policy;
        let port = plan.port.to_string();
        let status = Outcome::Injected.to_string();
        let mut annotations = vec![(key::CONFIG, &*ruleset.hash), (key::STATUS, &*status)];
        if plan.scrape_annotations {
            annotations.extend([(SCRAPE, "true"), (SCRAPE_PORT, &*port), (SCRAPE_PATH, METRICS_PATH)]);
        }
        if !size::annotations_fit(pod, &annotations) {
            return Err(SkipReason::AnnotationsFull);
        }
        added.metadata(pod);
        added.label(pod);
        added.annotations(pod, &annotations);
        let (list, exists) = match plan.mode {
            Mode::Native => (INIT_CONTAINERS, pod.spec.init_containers.is_some()),
            Mode::Container => (CONTAINERS, pod.spec.containers.is_some()),
        };
        added.extend_list(list, exists, &[SidecarContainer::new(plan, policy)]);
        added.volume(pod);
        let secrets: Vec<_> = plan.pull_secrets.iter().map(|name| json!({"name": name})).collect();
        added.extend_list(PULL_SECRETS, pod.spec.image_pull_secrets.is_some(), &secrets);
        Ok(added)
    }

    /// The status annotation of a skipped pod. Returns nothing if the reason is never annotated, if the pod already has this
    /// annotation, or if the annotations would exceed their limit.
    pub(crate) fn skip(pod: &PodView<'_>, reason: SkipReason) -> Self {
        let mut added = Self::default();
        let status = Outcome::Skipped(reason).to_string();
        let annotations = [(key::STATUS, &*status)];
        let is_new = reason.is_annotated() && pod.annotation(key::STATUS) != Some(&status);
        if is_new && size::annotations_fit(pod, &annotations) {
            added.metadata(pod);
            added.annotations(pod, &annotations);
        }
        added
    }

    /// Adds the sidecar's volume.
    pub(super) fn volume(&mut self, pod: &PodView<'_>) {
        self.extend_list(VOLUMES, pod.spec.volumes.is_some(), &[volume::volume()]);
    }

    /// Adds the label that Services and the session watch select.
    pub(super) fn label(&mut self, pod: &PodView<'_>) {
        self.extend_map("/metadata/labels", pod.labels().is_some(), &[INJECTED]);
    }

    /// Adds one value at a path whose parents exist.
    pub(crate) fn add(&mut self, path: impl Into<Cow<'static, str>>, value: &(impl Serialize + ?Sized)) {
        let path = path.into();
        // Removes the closing bracket of the patch.
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
        #[expect(
            clippy::expect_used,
            reason = "types with string keys and derived serialisation cannot fail"
        )]
        serde_json::to_writer(&mut self.json, value).expect("plain data is serialised");
    }

    /// The paths of the operations.
    pub(super) fn paths(&self) -> &[Cow<'static, str>] {
        &self.paths
    }

    /// The serialised patch; empty if there is no change.
    pub(crate) fn json(&self) -> &[u8] {
        &self.json
    }

    /// Whether there is no change.
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Applies the operations to `document` and returns the error if one does not apply.
    pub(crate) fn test_apply(&self, mut document: Value) -> Result<(), PatchError> {
        // Only the paths matter. Each value is an empty object here, because a later operation may add a key to it.
        let operation = |path: &Cow<'static, str>| {
            // Every path starts with a slash and has its keys escaped, so it is a valid JSON pointer.
            let path = PointerBuf::parse(path.as_ref()).unwrap_or_default();
            PatchOperation::Add(AddOperation { path, value: json!({}) })
        };
        json_patch::patch(&mut document, &self.paths.iter().map(operation).collect::<Vec<_>>())
    }

    /// The patch as a value; `None` if there is no change.
    pub(crate) fn to_patch(&self) -> Option<Patch> {
        serde_json::from_slice(&self.json).ok()
    }

    fn metadata(&mut self, pod: &PodView<'_>) {
        if pod.metadata.is_none() {
            self.add("/metadata", &json!({}));
        }
    }

    fn annotations(&mut self, pod: &PodView<'_>, entries: &[(&str, &str)]) {
        self.extend_map("/metadata/annotations", pod.annotations().is_some(), entries);
    }

    /// Adds one operation for each key. Without a map, adds one operation that creates it with all keys.
    fn extend_map(&mut self, path: &'static str, exists: bool, entries: &[(&str, &str)]) {
        if exists {
            for (key, value) in entries {
                self.add(pointer(path, key), value);
            }
        } else {
            let map: Map<_, _> =
                entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
            self.add(path, &map);
        }
    }

    /// Appends the items to the list, or creates the list.
    fn extend_list<T: Serialize>(&mut self, (list, next_item): ListPath, exists: bool, items: &[T]) {
        if exists {
            for item in items {
                self.add(next_item, item);
            }
        } else if !items.is_empty() {
            self.add(list, &items);
        }
    }
}

/// The JSON pointer of a key in a map. The keys contain no tilde, so only slashes are escaped.
fn pointer(map: &str, key: &str) -> String {
    let mut pointer = String::with_capacity(64);
    pointer.push_str(map);
    for (index, part) in key.split('/').enumerate() {
        pointer.push_str(if index == 0 { "/" } else { "~1" });
        pointer.push_str(part);
    }
    pointer
}
