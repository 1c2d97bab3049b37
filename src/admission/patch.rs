//! From a decision to a JSON Patch that is proven before it leaves the process.
//!
//! A patch that does not apply has the pod refused even under `failurePolicy: Ignore`, so parents that are missing are
//! created, no `test` and no `replace` is used, and the whole is tried on a skeleton of the pod first: those of its
//! parts that the patch touches, which is all that the outcome depends on.

use json_patch::{AddOperation, Patch, PatchError, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value, json};

use super::{
    Outcome, Reason,
    container::Sidecar,
    pod::{Metadata, Pod},
};
use crate::contract::key;

/// What is to be added to a pod.
#[derive(Debug, Default)]
pub(super) struct Changes {
    labels: Vec<(&'static str, String)>,
    annotations: Vec<(&'static str, String)>,
    init_containers: Option<Value>,
    volumes: Option<Value>,
}

// === impl Changes ===

impl Changes {
    /// The sidecar and the marks that go with it.
    pub(super) fn inject(sidecar: Sidecar) -> Self {
        let (label, value) = Sidecar::LABEL;
        Self {
            labels: vec![(label, value.to_owned())],
            annotations: vec![(key::CONFIG, sidecar.hash()), (key::STATUS, Outcome::Injected.to_string())],
            init_containers: Some(sidecar.container),
            volumes: Some(sidecar.volume),
        }
    }

    /// The status annotation, where the pod was decided on and nothing says so already.
    pub(super) fn skip(reason: Reason) -> Self {
        let says_so = !reason.is_decided() || reason == Reason::AlreadyInjected;
        let status = (key::STATUS, Outcome::Skipped(reason).to_string());
        Self { annotations: if says_so { vec![] } else { vec![status] }, ..Self::default() }
    }

    /// The patch that makes these changes to `pod`; `None` where there is nothing to change.
    pub(super) fn on(self, pod: &Pod<'_>) -> Result<Option<Patch>, PatchError> {
        let mut skeleton = skeleton(pod);
        let patch = self.operations(pod);
        json_patch::patch(&mut skeleton, &patch)?;
        Ok((!patch.is_empty()).then_some(patch))
    }

    fn operations(self, pod: &Pod<'_>) -> Patch {
        let Self { labels, annotations, init_containers, volumes } = self;
        let none = Metadata::default();
        let metadata = pod.metadata.as_ref().unwrap_or(&none);
        let parent = pod.metadata.is_none().then(|| add(&["metadata"], json!({})));
        let operations = parent
            .into_iter()
            .chain(into_map("labels", labels, metadata.labels.is_some()))
            .chain(into_map("annotations", annotations, metadata.annotations.is_some()))
            .chain(into_list("initContainers", init_containers, pod.spec.init_containers.is_some()))
            .chain(into_list("volumes", volumes, pod.spec.volumes.is_some()));
        Patch(operations.collect())
    }
}

/// One operation per key, or one that makes the map with all of them.
fn into_map(name: &str, entries: Vec<(&str, String)>, exists: bool) -> Vec<PatchOperation> {
    if exists {
        return entries.into_iter().map(|(key, value)| add(&["metadata", name, key], value.into())).collect();
    }
    let map: Map<_, _> = entries.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    if map.is_empty() { vec![] } else { vec![add(&["metadata", name], map.into())] }
}

/// Appends to the list, or makes it.
fn into_list(name: &str, item: Option<Value>, exists: bool) -> Option<PatchOperation> {
    item.map(
        |item| if exists { add(&["spec", name, "-"], item) } else { add(&["spec", name], json!([item])) },
    )
}

fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

fn skeleton(pod: &Pod<'_>) -> Value {
    let mut skeleton = json!({"spec": {}});
    if let Some(metadata) = &pod.metadata {
        skeleton["metadata"] = json!({});
        for (name, map) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
            if map.is_some() {
                skeleton["metadata"][name] = json!({});
            }
        }
    }
    let lists =
        [("initContainers", pod.spec.init_containers.is_some()), ("volumes", pod.spec.volumes.is_some())];
    for (name, _) in lists.into_iter().filter(|(_, exists)| *exists) {
        skeleton["spec"][name] = json!([]);
    }
    skeleton
}
