//! A review as a v1 API server sends it, and the answer as it reads it: to the letter, or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests use it, and they fail by panicking")]

use base64::{Engine, prelude::BASE64_STANDARD};
use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

/// Identifies the request of [`review`].
pub const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// The question about a pod's creation in a namespace.
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

/// What came back about a pod.
#[derive(Debug)]
pub struct Answer {
    /// The audit annotation: `injected`, `skipped: <reason>`.
    pub decision: String,
    /// What the creator of the pod is told.
    pub warnings: Vec<String>,
    /// The changes to it.
    pub patch: Option<Patch>,
}

/// What of a pod is ours.
#[derive(Debug)]
pub struct Ours<'a> {
    /// Labels and annotations.
    pub keys: &'a [&'a str],
    /// Name of the container.
    pub container: &'a str,
}

/// The API server cuts a longer warning.
const LONGEST_WARNING: usize = 256;

/// Lists of a pod's spec that may get an item.
const LISTS: [&str; 4] = ["initContainers", "containers", "volumes", "imagePullSecrets"];

const FIELDS: [&str; 6] = ["allowed", "auditAnnotations", "patch", "patchType", "uid", "warnings"];

impl Answer {
    /// Reads the answer to the request of this uid.
    ///
    /// # Panics
    /// Where an API server would not take it, where it refuses the pod, or a patch is empty.
    #[must_use]
    pub fn read(reply: &[u8], uid: &str) -> Self {
        let reply: Value = serde_json::from_slice(reply).expect("the answer is JSON");
        let response = &reply["response"];
        let whole =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        assert_eq!(reply, whole, "not the envelope of an answer");
        let known = |field: &String| FIELDS.contains(&field.as_str());
        assert!(response.as_object().unwrap().keys().all(known), "{response}");
        assert_eq!((&response["uid"], &response["allowed"]), (&json!(uid), &json!(true)));
        let both = response.get("patch").is_some() == response.get("patchType").is_some();
        assert!(both, "patch and patchType go together: {response}");
        let warnings: Vec<String> = response["warnings"].as_array().into_iter().flatten().map(text).collect();
        assert!(warnings.iter().all(|warning| warning.chars().count() <= LONGEST_WARNING), "{warnings:?}");
        Self {
            decision: text(&response["auditAnnotations"]["decision"]),
            warnings,
            patch: response.get("patch").map(|patch| decoded(&text(patch), &response["patchType"])),
        }
    }

    /// The pod with the patch applied.
    ///
    /// # Panics
    /// Where it does not apply.
    #[must_use]
    pub fn patched(&self, pod: &Value) -> Value {
        let mut after = pod.clone();
        if let Some(patch) = &self.patch {
            json_patch::patch(&mut after, patch).expect("the patch applies to the whole pod");
        }
        after
    }

    /// The pod with the patch applied, after that is found to add what is ours and do nothing else.
    ///
    /// # Panics
    /// Where it does not apply, does anything but add, or adds to what is not ours.
    #[must_use]
    pub fn applied(&self, pod: &Value, ours: &Ours<'_>) -> Value {
        self.patch
            .iter()
            .flat_map(|patch| patch.iter())
            .for_each(|operation| ours.is_all_that_grows(operation, pod));
        self.patched(pod)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn decoded(patch: &str, kind: &Value) -> Patch {
    assert_eq!(kind, "JSONPatch");
    let Patch(operations) = serde_json::from_slice(&BASE64_STANDARD.decode(patch).unwrap()).unwrap();
    assert!(!operations.is_empty(), "an empty patch");
    Patch(operations)
}

// === impl Ours ===

impl Ours<'_> {
    /// Parents that are not there, entries of maps under our keys, items at the end of lists, and our own container.
    fn is_all_that_grows(&self, operation: &PatchOperation, pod: &Value) {
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
            _ => panic!("touches {}", add.path),
        }
    }
}
