//! Pods of `tests/pods`, and the answers of admission.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use vdi_metrics::{
    admission::{Injector, Namespaces, Settings},
    limits,
};

pub(super) fn review(pod: &Value) -> Value {
    kit::answer::review(pod, pod["metadata"]["namespace"].as_str().unwrap_or("desktops"))
}

/// A pod of `tests/pods`, its configuration in `NAME.config.yaml` and the limits of its namespace in `NAME.namespace.yaml`.
pub(super) struct Case {
    pub(super) path: PathBuf,
    pub(super) pod: Value,
    pub(super) injector: Injector,
    namespaces: Namespaces,
}

impl Case {
    /// A pod of `tests/pods` by name.
    pub(super) fn named(name: &str) -> Self {
        Self::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/pods/{name}.yaml")))
    }

    pub(super) fn read(path: PathBuf) -> Self {
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        let config = path.with_extension("config.yaml");
        let settings = if config.exists() {
            Settings::parse(&text(&config), &config).unwrap()
        } else {
            Settings::default()
        };
        let namespace = path.with_extension("namespace.yaml");
        let namespaces =
            if namespace.exists() { parse_limits(&text(&namespace)) } else { Namespaces::default() };
        let pod = serde_saphyr::from_str(&text(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, pod, injector: Injector::new(settings), namespaces }
    }

    pub(super) fn response(&self, pod: &Value) -> Value {
        respond(&review(pod), &self.injector, &self.namespaces)
    }

    pub(super) fn inject(&self, pod: &Value) -> Value {
        patched(pod, &self.response(pod))
    }
}

fn parse_limits(documents: &str) -> Namespaces {
    let (mut ranges, mut quotas) = (vec![], vec![]);
    for mut object in serde_saphyr::from_multiple::<Value>(documents).unwrap() {
        object["metadata"]["namespace"] = json!("desktops");
        match object["kind"].as_str() {
            Some("LimitRange") => ranges.push(serde_json::from_value(object).unwrap()),
            Some("ResourceQuota") => quotas.push(serde_json::from_value(object).unwrap()),
            kind => panic!("{kind:?} is not a limit"),
        }
    }
    limits::combine(&ranges, &quotas)
}

pub(super) fn respond_with_defaults(review: &Value) -> Value {
    respond(review, &Injector::new(Settings::default()), &Namespaces::default())
}

/// The answer's `response`, after checking that a v1 API server accepts the envelope.
pub(super) fn respond(review: &Value, injector: &Injector, namespaces: &Namespaces) -> Value {
    let body = serde_json::to_vec(review).unwrap();
    let reply = injector.admit(&body, namespaces).unwrap().reply;
    let reply: Value = serde_json::from_slice(&reply).unwrap();
    assert_eq!(
        (&reply["apiVersion"], &reply["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    let response = &reply["response"];
    assert_eq!(response["uid"], review["request"]["uid"]);
    assert_eq!(response["allowed"], true, "a desktop was rejected");
    assert_eq!(
        response["patch"].is_null(),
        response["patchType"].is_null(),
        "patch and patchType go together"
    );
    let warnings = response["warnings"].as_array().into_iter().flatten();
    let lengths: Vec<_> = warnings.map(|warning| warning.as_str().unwrap().len()).collect();
    assert!(lengths.iter().all(|length| *length <= 120), "{lengths:?}: {response}");
    response.clone()
}

pub(super) fn patched(pod: &Value, response: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(patch) = response["patch"].as_str() {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch: json_patch::Patch =
            serde_json::from_slice(&BASE64_STANDARD.decode(patch).unwrap()).unwrap();
        assert!(patch.iter().all(|operation| matches!(operation, json_patch::PatchOperation::Add(_))));
        json_patch::patch(&mut pod, &patch).expect("the patch applies to the pod");
    }
    pod
}
