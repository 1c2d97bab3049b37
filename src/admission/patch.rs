//! From a decision to a JSON Patch that is proven before it leaves the process.
//!
//! A patch that does not apply has the pod refused even under `failurePolicy: Ignore`, so parents that are missing are
//! created, nothing but `add` is used, and the whole is tried first: on a skeleton of the pod, those of its parts that the
//! patch touches, which is all that the outcome depends on.

use json_patch::{AddOperation, Patch, PatchError, PatchOperation, jsonptr::PointerBuf};
use serde::Serialize;
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};

use super::{
    Injector,
    container::{self, Container},
    decide::Plan,
    pod::Pod,
    reason::{Outcome, Reason},
    settings::Mode,
};
use crate::contract::{METRICS_PATH, key};

/// What is added to a pod, in the order in which it applies.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Additions(Vec<Addition>);

/// One operation.
#[derive(Debug, Serialize)]
struct Addition {
    op: &'static str,
    path: String,
    value: Box<RawValue>,
}

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
        added.metadata(pod, &[INJECTED], &annotations);
        let (list, exists) = match plan.mode {
            Mode::Native => ("/spec/initContainers", pod.spec.init_containers.is_some()),
            Mode::Container => ("/spec/containers", pod.spec.containers.is_some()),
        };
        added.extend_list(list, exists, &[Container::of(plan, policy)]);
        added.extend_list("/spec/volumes", pod.spec.volumes.is_some(), &[container::volume()]);
        let secrets: Vec<_> = plan.pull_secrets.iter().map(|name| json!({"name": name})).collect();
        added.extend_list("/spec/imagePullSecrets", pod.spec.image_pull_secrets.is_some(), &secrets);
        added
    }

    /// The status annotation, where the pod was decided on and nothing says so already.
    pub(super) fn skip(pod: &Pod<'_>, reason: Reason) -> Self {
        let mut added = Self::default();
        let status = Outcome::Skipped(reason).to_string();
        if reason.is_marked() && pod.annotation(key::STATUS) != Some(&status) {
            added.metadata(pod, &[], &[(key::STATUS, &status)]);
        }
        added
    }

    /// Adds one value at a path whose parents exist.
    pub(super) fn add(&mut self, path: impl Into<String>, value: &impl Serialize) {
        #[expect(clippy::expect_used, reason = "string keys and derived types have no way to fail")]
        let value = to_raw_value(value).expect("plain data serialises");
        self.0.push(Addition { op: "add", path: path.into(), value });
    }

    /// The patch as it is sent.
    pub(super) fn to_json(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "string keys and derived types have no way to fail")]
        serde_json::to_vec(self).expect("plain data serialises")
    }

    /// Whether nothing is to be changed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tries the operations on `document`.
    pub(super) fn prove(&self, mut document: Value) -> Result<(), PatchError> {
        // Of the values only their kind matters, and only where a later operation goes on inside: an object.
        let operations = self.0.iter().map(|added| added.operation(json!({})));
        json_patch::patch(&mut document, &operations.collect::<Vec<_>>())
    }

    /// The operations as the library has them.
    pub(super) fn to_patch(&self) -> Patch {
        let value = |added: &Addition| serde_json::from_str(added.value.get()).unwrap_or_default();
        Patch(self.0.iter().map(|added| added.operation(value(added))).collect())
    }

    fn metadata(&mut self, pod: &Pod<'_>, labels: &[(&str, &str)], annotations: &[(&str, &str)]) {
        if pod.metadata.is_none() {
            self.add("/metadata", &json!({}));
        }
        self.extend_map("/metadata/labels", pod.labels().is_some(), labels);
        self.extend_map("/metadata/annotations", pod.annotations().is_some(), annotations);
    }

    /// One operation per key, or one that makes the map with all of them.
    fn extend_map(&mut self, path: &str, exists: bool, entries: &[(&str, &str)]) {
        if exists {
            for (key, value) in entries {
                self.add(format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), value);
            }
        } else if !entries.is_empty() {
            let map: Map<_, _> =
                entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
            self.add(path, &map);
        }
    }

    /// Appends to the list, or makes it.
    fn extend_list<T: Serialize>(&mut self, path: &str, exists: bool, items: &[T]) {
        if exists {
            for item in items {
                self.add(format!("{path}/-"), item);
            }
        } else if !items.is_empty() {
            self.add(path, &items);
        }
    }
}

/// The label that Services and the session watch select.
pub(super) const INJECTED: (&str, &str) = (key::INJECTED, "true");

const SCRAPE: &str = "prometheus.io/scrape";
const SCRAPE_PORT: &str = "prometheus.io/port";
const SCRAPE_PATH: &str = "prometheus.io/path";

// === impl Addition ===

impl Addition {
    fn operation(&self, value: Value) -> PatchOperation {
        // Every path begins with a slash and has its keys escaped, which is all that a pointer asks for.
        let path = PointerBuf::parse(self.path.clone()).unwrap_or_default();
        PatchOperation::Add(AddOperation { path, value })
    }
}

/// The parts of a pod that an injection touches.
pub(super) fn skeleton(pod: &Pod<'_>) -> Value {
    let spec = &pod.spec;
    let mut skeleton = json!({"spec": {}});
    if pod.metadata.is_some() {
        skeleton["metadata"] = json!({});
    }
    for (parent, name, exists, empty) in [
        ("metadata", "labels", pod.labels().is_some(), json!({})),
        ("metadata", "annotations", pod.annotations().is_some(), json!({})),
        ("spec", "containers", spec.containers.is_some(), json!([])),
        ("spec", "initContainers", spec.init_containers.is_some(), json!([])),
        ("spec", "volumes", spec.volumes.is_some(), json!([])),
        ("spec", "imagePullSecrets", spec.image_pull_secrets.is_some(), json!([])),
    ] {
        if exists {
            skeleton[parent][name] = empty;
        }
    }
    skeleton
}
