//! A review as a v1 API server sends it, and a reader that accepts only answers that the API server accepts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "only tests use this module, and they fail by panicking"
)]

use base64::{Engine, prelude::BASE64_STANDARD};
use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

/// The UID of the request in [`review`].
pub const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// The review of a pod's creation in a namespace.
#[must_use]
pub fn review(pod: &Value, namespace: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": UID,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": namespace,
            "userInfo": {"username": "broker"},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
        },
    })
}

/// The webhook's answer to a review.
#[derive(Debug)]
pub struct Answer {
    /// The audit annotation: `injected` or `skipped: <reason>`.
    pub decision: String,
    /// The warnings for the client that creates the pod.
    pub warnings: Vec<String>,
    /// The changes to the pod.
    pub patch: Option<Patch>,
}

/// The parts of a pod that the webhook may add or change.
#[derive(Debug)]
pub struct OwnedFields<'a> {
    /// The keys of labels and annotations.
    pub keys: &'a [&'a str],
    /// The name of the sidecar's container.
    pub container: &'a str,
}

/// The API server truncates a longer warning.
const MAX_WARNING: usize = 256;

/// The lists of a pod's spec to which the webhook may append an item.
const LISTS: [&str; 4] = ["initContainers", "containers", "volumes", "imagePullSecrets"];

const FIELDS: [&str; 6] = ["allowed", "auditAnnotations", "patch", "patchType", "uid", "warnings"];

// === impl Answer ===

impl Answer {
    /// Reads the answer to the request with this UID.
    ///
    /// # Panics
    /// When the API server would not accept the answer, when the answer rejects the pod, and when a patch is empty.
    #[must_use]
    pub fn read(reply: &[u8], uid: &str) -> Self {
        let reply: Value = serde_json::from_slice(reply).expect("the answer is JSON");
        let response = &reply["response"];
        let envelope =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        assert_eq!(reply, envelope, "the answer has another envelope");
        let is_known = |field: &String| FIELDS.contains(&field.as_str());
        assert!(response.as_object().unwrap().keys().all(is_known), "{response}");
        assert_eq!((&response["uid"], &response["allowed"]), (&json!(uid), &json!(true)));
        let both = response.get("patch").is_some() == response.get("patchType").is_some();
        assert!(both, "the answer has only one of patch and patchType: {response}");
        let warnings: Vec<String> = response["warnings"].as_array().into_iter().flatten().map(text).collect();
        assert!(warnings.iter().all(|warning| warning.chars().count() <= MAX_WARNING), "{warnings:?}");
        Self {
            decision: text(&response["auditAnnotations"]["decision"]),
            warnings,
            patch: response.get("patch").map(|patch| decoded(&text(patch), &response["patchType"])),
        }
    }

    /// The pod with the patch applied.
    ///
    /// # Panics
    /// When the patch does not apply.
    #[must_use]
    pub fn patched(&self, pod: &Value) -> Value {
        let mut after = pod.clone();
        if let Some(patch) = &self.patch {
            json_patch::patch(&mut after, patch).expect("the patch applies to the pod");
        }
        after
    }

    /// The pod with the patch applied, after a check that the patch adds only what the webhook owns.
    ///
    /// # Panics
    /// When the patch does not apply, when an operation is not an addition, and when it changes what the webhook does not own.
    #[must_use]
    pub fn applied(&self, pod: &Value, owned: &OwnedFields<'_>) -> Value {
        self.patch
            .iter()
            .flat_map(|patch| patch.iter())
            .for_each(|operation| owned.check_addition(operation, pod));
        self.patched(pod)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

fn decoded(patch: &str, kind: &Value) -> Patch {
    assert_eq!(kind, "JSONPatch");
    let Patch(operations) = serde_json::from_slice(&BASE64_STANDARD.decode(patch).unwrap()).unwrap();
    assert!(!operations.is_empty(), "an empty patch");
    Patch(operations)
}

// === impl OwnedFields ===

impl OwnedFields<'_> {
    /// Checks one operation. It may add missing parents, map entries with the webhook's keys, items at the end of lists, and
    /// fields of the sidecar's container.
    fn check_addition(&self, operation: &PatchOperation, pod: &Value) {
        let PatchOperation::Add(add) = operation else { panic!("not an addition: {operation:?}") };
        let tokens: Vec<_> = add.path.tokens().map(|token| token.decoded().into_owned()).collect();
        let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
        let absent = pod.pointer(add.path.as_str()).is_none_or(Value::is_null);
        match tokens[..] {
            ["metadata"] | ["metadata", "labels" | "annotations"] => assert!(absent, "{add:?}"),
            ["metadata", "labels" | "annotations", key] => assert!(self.keys.contains(&key), "{add:?}"),
            ["spec", list] if LISTS.contains(&list) => assert!(absent, "{add:?}"),
            ["spec", list, "-"] if LISTS.contains(&list) => {}
            ["spec", list @ ("initContainers" | "containers"), index, _, ..] => {
                let index: usize = index.parse().unwrap();
                assert_eq!(pod["spec"][list][index]["name"], self.container, "{add:?}");
            }
            _ => panic!("an operation at {}", add.path),
        }
    }
}
