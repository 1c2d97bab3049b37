//! Admission without a socket: every pod in `tests/pods` against its golden file, the algebra of injection on each of
//! them, and the protocol to the letter. `BLESS=1` writes the golden files anew.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use vdi_metrics::{
    admission::{Injector, Namespaces, Settings, settings::ScrapeAnnotations},
    contract::{CONTAINER, key},
    limits,
};

fn review(pod: &Value) -> Value {
    kit::answer::review(pod, pod["metadata"]["namespace"].as_str().unwrap_or("desktops"))
}

/// A pod of `tests/pods`, the configuration in `NAME.config.yaml` and what its namespace holds in `NAME.namespace.yaml`.
struct Case {
    path: PathBuf,
    pod: Value,
    injector: Injector,
    known: Namespaces,
}

impl Case {
    fn read(path: PathBuf) -> Self {
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        let config = path.with_extension("config.yaml");
        let settings = if config.exists() { Settings::read(&config).unwrap() } else { Settings::default() };
        let namespace = path.with_extension("namespace.yaml");
        let known = if namespace.exists() { holding(&text(&namespace)) } else { Namespaces::default() };
        let pod = serde_saphyr::from_str(&text(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, pod, injector: Injector::new(settings), known }
    }

    fn ask(&self, pod: &Value) -> Value {
        answer_of(&review(pod), &self.injector, &self.known)
    }

    fn inject(&self, pod: &Value) -> Value {
        patched(pod, &self.ask(pod))
    }
}

fn holding(documents: &str) -> Namespaces {
    let (mut ranges, mut quotas) = (vec![], vec![]);
    for mut object in serde_saphyr::from_multiple::<Value>(documents).unwrap() {
        object["metadata"]["namespace"] = json!("desktops");
        match object["kind"].as_str() {
            Some("LimitRange") => ranges.push(serde_json::from_value(object).unwrap()),
            Some("ResourceQuota") => quotas.push(serde_json::from_value(object).unwrap()),
            kind => panic!("{kind:?} limits nothing"),
        }
    }
    limits::of(&ranges, &quotas)
}

fn answer(review: &Value) -> Value {
    answer_of(review, &Injector::new(Settings::default()), &Namespaces::default())
}

/// The answer's `response`, after the envelope is found to be what a v1 API server accepts.
fn answer_of(review: &Value, injector: &Injector, known: &Namespaces) -> Value {
    let body = serde_json::to_vec(review).unwrap();
    let reply = injector.admit(&body, known).unwrap().reply;
    let reply: Value = serde_json::from_slice(&reply).unwrap();
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
    let lengths: Vec<_> = warnings.map(|warning| warning.as_str().unwrap().len()).collect();
    assert!(lengths.iter().all(|length| *length <= 120), "{lengths:?}: {response}");
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

fn cases() -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pods");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.file_stem().unwrap().to_string_lossy().contains('.'));
    files.sort();
    assert!(!files.is_empty());
    files.into_iter().map(Case::read).collect()
}

#[test]
fn every_pod_has_its_golden_answer() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut golden_files = BTreeSet::new();
    for case in cases() {
        let Case { path, pod, injector, .. } = &case;
        let response = case.ask(pod);
        let decision = response["auditAnnotations"]["decision"].as_str().unwrap();
        let warnings: Vec<_> = response["warnings"].as_array().into_iter().flatten().collect();
        let warnings: String =
            warnings.iter().map(|w| format!("# warning: {}\n", w.as_str().unwrap())).collect();
        let after = serde_saphyr::to_string(&patched(pod, &response)).unwrap();
        // Any change of the settings changes it; that it is the injector's is what matters.
        let after = after.replace(injector.hash(), "HASH");
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
    let stale: Vec<_> = all.filter(|path| is_stale(path, &golden_files)).collect();
    assert!(stale.is_empty(), "files without a pod: {stale:?}");
}

/// Whether no pod is beside it that it could belong to.
fn is_stale(path: &Path, golden_files: &BTreeSet<PathBuf>) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let Some((pod, _)) = name.split_once('.') else { return false };
    !golden_files.contains(&path.with_file_name(format!("{pod}.golden.yaml")))
}

#[test]
fn injecting_twice_is_injecting_once() {
    for case in cases() {
        let once = case.inject(&case.pod);
        assert_eq!(case.inject(&once), once, "{}", case.path.display());
    }
}

#[test]
fn what_is_not_ours_is_unchanged() {
    for case in cases() {
        let response = case.ask(&case.pod);
        let mut after = patched(&case.pod, &response);
        match response["auditAnnotations"]["decision"].as_str().unwrap() {
            "injected" => take_away(&mut after, &case),
            "skipped: already_injected" => {}
            _ => take(&mut after, "annotations", &[key::STATUS]),
        }
        assert_eq!(without_empty(after), without_empty(case.pod), "{}", case.path.display());
    }
}

fn take_away(pod: &mut Value, case: &Case) {
    for list in ["initContainers", "containers", "volumes"] {
        if let Some(items) = pod["spec"][list].as_array_mut() {
            items.retain(|item| item["name"] != CONTAINER);
        }
    }
    let secrets = &case.injector.settings().sidecar.image_pull_secrets;
    if let Some(items) = pod["spec"]["imagePullSecrets"].as_array_mut() {
        let own = case.pod["spec"]["imagePullSecrets"].as_array().map_or(0, Vec::len);
        assert!(items.drain(own..).all(|item| secrets.iter().any(|secret| item["name"] == **secret)));
    }
    take(pod, "labels", &[key::INJECTED]);
    take(pod, "annotations", &[key::STATUS, key::CONFIG]);
    if case.injector.settings().scrape_annotations == ScrapeAnnotations::Auto
        && case.pod["metadata"]["annotations"]["prometheus.io/scrape"].is_null()
    {
        take(pod, "annotations", &["scrape", "port", "path"].map(|key| format!("prometheus.io/{key}")));
    }
}

fn take(pod: &mut Value, map: &str, keys: &[impl AsRef<str>]) {
    if let Some(entries) = pod["metadata"][map].as_object_mut() {
        entries.retain(|key, _| keys.iter().all(|taken| taken.as_ref() != key));
    }
}

/// Absent, null and empty are the same to the API server where a list or map is expected.
fn without_empty(mut pod: Value) -> Value {
    for (parent, field) in [
        ("metadata", "labels"),
        ("metadata", "annotations"),
        ("spec", "initContainers"),
        ("spec", "volumes"),
        ("spec", "imagePullSecrets"),
    ] {
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
        Injector::new(settings.clone()).admit(&body, &Namespaces::default()).unwrap().outcome.to_string()
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
    let injector = Injector::new(Settings::default());
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
        let error = injector.admit(body.as_bytes(), &Namespaces::default()).unwrap_err().to_string();
        assert!(error.contains(why), "{body}: {error}");
    }
    let latin1 = b"{\"apiVersion\": \"\xe9\"}";
    assert!(injector.admit(latin1, &Namespaces::default()).is_err());
}

#[test]
fn a_copied_pod_that_has_us_is_never_said_to_go_without() {
    let case = Case::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pods/bare.yaml"));
    let mut pod = case.inject(&case.pod);
    pod["spec"]["hostNetwork"] = json!(true);
    assert_eq!(case.ask(&pod)["auditAnnotations"]["decision"], "skipped: already_injected");
}

#[test]
fn a_copied_pod_is_not_held_back_by_what_others_took_from_us() {
    let case = Case::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pods/bare.yaml"));
    let mut pod = case.inject(&case.pod);
    // Another configuration's, or one that we would not inject any more: we know no better what the rest is to be like.
    pod["metadata"]["annotations"][key::CONFIG] = json!("0123456789abcdef");
    pod["spec"]["hostNetwork"] = json!(true);
    let whole = pod.clone();
    let ours = pod["spec"]["initContainers"][0].as_object_mut().unwrap();
    ours.remove("restartPolicy");
    ours.insert("resources".into(), json!({}));
    let answer = case.ask(&pod);
    assert_eq!(answer["auditAnnotations"]["decision"], "repaired");
    let mut expected = whole;
    expected["spec"]["initContainers"][0]["resources"] = json!({});
    assert_eq!(patched(&pod, &answer), expected);
}

#[test]
fn the_sidecar_makes_no_pod_of_one_without_containers() {
    let annotations = json!({key::MODE: "container"});
    let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": []}});
    let injected = patched(&pod, &answer(&review(&pod)));
    assert_eq!(
        (&injected["spec"]["containers"], injected["spec"]["initContainers"][0]["name"].as_str()),
        (&json!([]), Some(CONTAINER))
    );
}

#[test]
fn what_others_broke_is_put_back() {
    let case = Case::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pods/init-containers.yaml"));
    let whole = case.inject(&case.pod);
    let ours = whole["spec"]["initContainers"].as_array().unwrap().len() - 1;
    let container = format!("/spec/initContainers/{ours}");
    for (field, in_the_container) in [
        ("restartPolicy", true),
        ("securityContext", true),
        ("securityContext/allowPrivilegeEscalation", true),
        ("securityContext/capabilities", true),
        ("securityContext/readOnlyRootFilesystem", true),
        ("securityContext/runAsNonRoot", true),
        ("securityContext/runAsUser", true),
        ("securityContext/seccompProfile", true),
        ("resources", true),
        ("volumeMounts", true),
        ("spec/volumes", false),
        ("metadata/labels/vdi-metrics.io~1injected", false),
        ("metadata/labels", false),
    ] {
        let path = if in_the_container { format!("{container}/{field}") } else { format!("/{field}") };
        let mut damaged = whole.clone();
        let operation = json_patch::RemoveOperation { path: path.parse().unwrap() };
        json_patch::patch(&mut damaged, &[json_patch::PatchOperation::Remove(operation)]).unwrap();
        let response = case.ask(&damaged);
        assert_eq!(response["auditAnnotations"]["decision"], "repaired", "{path}");
        assert_eq!(patched(&damaged, &response), whole, "{path}");
    }
}

#[test]
fn claims_that_others_took_are_put_back_alone() {
    let case = Case::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pods/claims.yaml"));
    let whole = case.inject(&case.pod);
    let mut damaged = whole.clone();
    damaged["spec"]["initContainers"][0]["resources"].as_object_mut().unwrap().remove("claims");
    let repaired = case.inject(&damaged);
    assert_eq!(repaired["spec"]["initContainers"], whole["spec"]["initContainers"]);
}

#[test]
fn the_api_token_does_not_stay() {
    let case = Case::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pods/bare.yaml"));
    let whole = case.inject(&case.pod);
    for (name, decision) in
        [("kube-api-access-2tjj9", "repaired"), ("somebodys", "skipped: already_injected")]
    {
        let mut pod = whole.clone();
        pod["spec"]["initContainers"][0]["volumeMounts"][0]["name"] = json!(name);
        let response = case.ask(&pod);
        assert_eq!(response["auditAnnotations"]["decision"], decision);
        assert_eq!(decision == "repaired", case.inject(&pod) == whole);
    }
}

#[test]
fn a_port_that_another_container_has_taken_since_is_left_to_it() {
    let case = Case::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pods/bare.yaml"));
    let mut pod = case.inject(&case.pod);
    pod["spec"]["initContainers"][0]["env"].as_array_mut().unwrap().insert(0, json!({"name": "THEIRS"}));
    let exporter = json!({"name": "exporter", "ports": [{"containerPort": 9478}, {"containerPort": 9479}]});
    pod["spec"]["containers"].as_array_mut().unwrap().push(exporter);
    let response = case.ask(&pod);
    assert_eq!(response["auditAnnotations"]["decision"], "repaired");
    let repaired = patched(&pod, &response);
    assert_eq!(repaired["spec"]["initContainers"][0]["ports"][0]["containerPort"], 9480);
    let listens = json!({"name": "VDI_METRICS_LISTEN", "value": "[::]:9480"});
    assert_eq!(repaired["spec"]["initContainers"][0]["env"][1], listens);
    assert_eq!(case.ask(&repaired)["auditAnnotations"]["decision"], "skipped: already_injected");
}

#[test]
fn what_others_meant_is_left() {
    let case = Case::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pods/bare.yaml"));
    let mut pod = case.inject(&case.pod);
    let container = &mut pod["spec"]["initContainers"][0];
    container["image"] = json!("mirror.example.com/vdi-metrics/sidecar:0.1.0");
    container["resources"] = json!({"requests": {"cpu": "1m"}});
    container["env"].as_array_mut().unwrap().push(json!({"name": "HTTP_PROXY", "value": "proxy:3128"}));
    container["securityContext"]["seccompProfile"] =
        json!({"type": "Localhost", "localhostProfile": "own.json"});
    container["terminationMessagePath"] = json!("/dev/termination-log");
    assert_eq!(case.ask(&pod)["auditAnnotations"]["decision"], "skipped: already_injected");
}
