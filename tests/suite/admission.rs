//! Admission without a socket: every pod in `tests/pods` against its golden file, the algebra of injection on each of
//! them, and the protocol to the letter. `BLESS=1` writes the golden files anew.

use std::{collections::BTreeSet, fs, path::PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use vdi_metrics::{
    admission::{self, Settings},
    contract::{CONTAINER, key},
};

fn review(object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": "desktops",
            "userInfo": {"username": "broker"},
            "object": object,
            "oldObject": null,
            "dryRun": false,
        },
    })
}

/// The answer's `response`, after the envelope is found to be what a v1 API server accepts.
fn answer(review: &Value) -> Value {
    let body = serde_json::to_vec(review).unwrap();
    let reply: Value =
        serde_json::from_slice(&admission::admit(&body, &Settings::default()).unwrap().reply).unwrap();
    assert_eq!(
        (&reply["apiVersion"], &reply["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    let response = &reply["response"];
    assert_eq!(response["uid"], review["request"]["uid"]);
    assert_eq!(response["allowed"], true, "a desktop was refused");
    assert_eq!(
        response["patch"].is_null(),
        response["patchType"].is_null(),
        "patch and patchType go together"
    );
    let warnings = response["warnings"].as_array().into_iter().flatten();
    assert!(warnings.map(|warning| warning.as_str().unwrap().len()).all(|length| length <= 120));
    response.clone()
}

fn patched(pod: &Value, response: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(patch) = response["patch"].as_str() {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch: json_patch::Patch =
            serde_json::from_slice(&BASE64_STANDARD.decode(patch).unwrap()).unwrap();
        assert!(patch.iter().all(|operation| matches!(operation, json_patch::PatchOperation::Add(_))));
        json_patch::patch(&mut pod, &patch).expect("the patch applies to the whole pod");
    }
    pod
}

fn inject(pod: &Value) -> Value {
    patched(pod, &answer(&review(pod)))
}

fn pods() -> Vec<(PathBuf, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pods");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.to_string_lossy().ends_with(".golden.yaml"));
    files.sort();
    assert!(!files.is_empty());
    let read = |path: PathBuf| {
        let pod = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, pod)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn every_pod_has_its_golden_answer() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut golden_files = BTreeSet::new();
    for (path, pod) in pods() {
        let response = answer(&review(&pod));
        let decision = response["auditAnnotations"]["decision"].as_str().unwrap();
        let warnings: Vec<_> = response["warnings"].as_array().into_iter().flatten().collect();
        let warnings: String =
            warnings.iter().map(|w| format!("# warning: {}\n", w.as_str().unwrap())).collect();
        let after = serde_saphyr::to_string(&patched(&pod, &response)).unwrap();
        let answer = format!("# decision: {decision}\n{warnings}{after}");
        let golden = path.with_extension("golden.yaml");
        if bless {
            fs::write(&golden, &answer).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(answer, expected, "{} differs; BLESS=1 writes it anew", golden.display());
        golden_files.insert(golden);
    }
    let folder = golden_files.first().unwrap().parent().unwrap();
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let stale: Vec<_> =
        all.filter(|p| p.to_string_lossy().ends_with(".golden.yaml") && !golden_files.contains(p)).collect();
    assert!(stale.is_empty(), "golden files without a pod: {stale:?}");
}

#[test]
fn injecting_twice_is_injecting_once() {
    for (path, pod) in pods() {
        let once = inject(&pod);
        assert_eq!(inject(&once), once, "{}", path.display());
    }
}

#[test]
fn what_is_not_ours_is_unchanged() {
    for (path, pod) in pods() {
        let response = answer(&review(&pod));
        let mut after = patched(&pod, &response);
        match response["auditAnnotations"]["decision"].as_str().unwrap() {
            "injected" => take_away(&mut after, &[key::INJECTED, key::STATUS, key::CONFIG], CONTAINER),
            "skipped: already_injected" => {}
            _ => take_away(&mut after, &[key::STATUS], "nothing in a list"),
        }
        assert_eq!(without_empty(after), without_empty(pod), "{}", path.display());
    }
}

fn take_away(pod: &mut Value, keys: &[&str], name: &str) {
    for list in ["initContainers", "volumes"] {
        if let Some(items) = pod["spec"][list].as_array_mut() {
            items.retain(|item| item["name"] != name);
        }
    }
    for map in ["labels", "annotations"] {
        if let Some(entries) = pod["metadata"][map].as_object_mut() {
            entries.retain(|key, _| !keys.contains(&key.as_str()));
        }
    }
}

/// Absent, null and empty are the same to the API server where a list or map is expected.
fn without_empty(mut pod: Value) -> Value {
    for (parent, field) in
        [("metadata", "labels"), ("metadata", "annotations"), ("spec", "initContainers"), ("spec", "volumes")]
    {
        let value = &pod[parent][field];
        let empty = value.is_null() || *value == json!([]) || *value == json!({});
        if let (true, Some(parent)) = (empty, pod[parent].as_object_mut()) {
            parent.remove(field);
        }
    }
    pod
}

#[test]
fn a_pod_that_declares_every_port_goes_without_us() {
    let settings = "sidecar: {port: 65534}";
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), settings).unwrap();
    let settings = Settings::read(file.path()).unwrap();
    let decide = |ports: Value| {
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "desktop", "ports": ports}]}});
        let body = serde_json::to_vec(&review(&pod)).unwrap();
        admission::admit(&body, &settings).unwrap().outcome.to_string()
    };
    let port = |number: u16| json!({"containerPort": number});
    assert_eq!(decide(json!([port(65534)])), "injected");
    assert_eq!(decide(json!([port(65534), port(65535)])), "skipped: no_free_port");
}

#[test]
fn a_pod_that_cannot_be_read_goes_without_us() {
    let (decision, patch) = (json!("skipped: undecodable"), Value::Null);
    for object in
        [json!(null), json!(7), json!({}), json!({"spec": {"containers": "none"}}), json!({"spec": null})]
    {
        let response = answer(&review(&object));
        assert_eq!(
            (&response["auditAnnotations"]["decision"], &response["patch"]),
            (&decision, &patch),
            "{object}"
        );
        assert!(response["warnings"].is_array());
    }
}

#[test]
fn only_the_creation_of_a_pod_is_changed() {
    let pod = json!({"metadata": {}, "spec": {"containers": []}});
    for (field, value) in [
        ("operation", json!("UPDATE")),
        ("subResource", json!("ephemeralcontainers")),
        ("kind", json!({"group": "apps", "version": "v1", "kind": "Deployment"})),
        ("kind", json!(null)),
        ("object", json!(null)),
    ] {
        let mut review = review(&pod);
        // A deletion has no object.
        review["request"]["operation"] = json!(if field == "object" { "DELETE" } else { "CREATE" });
        review["request"][field] = value;
        let response = answer(&review);
        assert_eq!(response["auditAnnotations"]["decision"], "skipped: not_a_pod", "{field}");
        assert_eq!(response["patch"], Value::Null);
    }
}

#[test]
fn an_envelope_that_cannot_be_answered_says_why() {
    let whole = review(&json!({"spec": {}}));
    let with = |field: &str, value: Value| {
        let mut review = whole.clone();
        *review.pointer_mut(field).unwrap() = value;
        review.to_string()
    };
    for (body, why) in [
        (String::new(), "EOF"),
        ("[]".into(), "expected struct"),
        ("{\"kind\": 1".into(), "invalid type"),
        (with("/apiVersion", json!("admission.k8s.io/v1beta1")), "found admission.k8s.io/v1beta1"),
        (with("/kind", json!("Pod")), "found admission.k8s.io/v1 Pod"),
        (with("/request", json!(null)), "no request"),
        (with("/request/uid", json!("")), "no request with a uid"),
    ] {
        let error = admission::admit(body.as_bytes(), &Settings::default()).unwrap_err().to_string();
        assert!(error.contains(why), "{body}: {error}");
    }
    let latin1 = b"{\"apiVersion\": \"\xe9\"}";
    assert!(admission::admit(latin1, &Settings::default()).is_err());
}
