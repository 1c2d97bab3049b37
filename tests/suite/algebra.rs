//! The algebra of injection over pods at random (`kit::pods`): whatever a pod is like and whatever is configured, what
//! holds for one holds for all. `PROPTEST_CASES` raises the number of pods, 256 for each property.

use std::{collections::BTreeMap, fs, sync::LazyLock};

use base64::{Engine, prelude::BASE64_STANDARD};
use json_patch::{Patch, PatchOperation};
use kit::{
    apiserver::{Qos, qos, stored},
    pods,
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use vdi_metrics::{
    admission::{self, Settings},
    contract::{CONTAINER, key},
};

/// Configurations that change what is injected.
static SETTINGS: LazyLock<Vec<Settings>> =
    LazyLock::new(|| CONFIGURATIONS.iter().map(|text| settings(text)).collect());

const CONFIGURATIONS: [&str; 2] = [
    "sidecar: {}",
    "sidecar: {port: 9500, imagePullPolicy: Always, resources: {cpu: '0.1', memory: 1024Mi}}",
];

fn settings(text: &str) -> Settings {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    Settings::read(file.path()).unwrap()
}

/// What became of a pod.
#[derive(Debug)]
struct Admitted {
    decision: String,
    patch: Option<Patch>,
    pod: Value,
}

/// One call, in which everything that holds for every call is looked at.
fn admit(pod: &Value, settings: &Settings) -> Admitted {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "namespace": "desktops",
            "object": pod,
        },
    });
    let body = pods::text(&review);
    let admission = admission::admit(body.as_bytes(), settings).unwrap();
    let reply: Value = serde_json::from_slice(&admission.reply).unwrap();
    let (decision, patch) = response(&reply);
    assert_eq!(decision, admission.outcome.to_string());
    let mut after = pod.clone();
    if let Some(patch) = &patch {
        patch.iter().for_each(|operation| only_adds_what_is_ours(operation, pod));
        json_patch::patch(&mut after, patch).expect("the patch applies to the whole pod");
    }
    Admitted { decision, patch, pod: after }
}

/// The decision and the patch, out of an envelope that a v1 API server accepts.
fn response(reply: &Value) -> (String, Option<Patch>) {
    let fields = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(reply), ["apiVersion", "kind", "response"]);
    assert_eq!(
        (&reply["apiVersion"], &reply["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    let response = &reply["response"];
    let known = ["uid", "allowed", "patchType", "patch", "warnings", "auditAnnotations"];
    assert!(fields(response).iter().all(|field| known.contains(&field.as_str())), "{response}");
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("u-1"), &json!(true)));
    let patch = response.get("patch").map(|patch| {
        assert_eq!(response["patchType"], "JSONPatch");
        serde_json::from_slice(&BASE64_STANDARD.decode(patch.as_str().unwrap()).unwrap()).unwrap()
    });
    assert_eq!(patch.is_some(), response.get("patchType").is_some());
    assert!(patch.as_ref().is_none_or(|Patch(operations)| !operations.is_empty()), "an empty patch");
    let decision = response["auditAnnotations"]["decision"].as_str().unwrap().to_owned();
    (decision, patch)
}

/// Parents that are not there, entries of maps under our keys, items at the end of lists.
fn only_adds_what_is_ours(operation: &PatchOperation, pod: &Value) {
    let PatchOperation::Add(add) = operation else { panic!("not an addition: {operation:?}") };
    let path: Vec<_> = add.path.tokens().map(|token| token.decoded().into_owned()).collect();
    let path: Vec<_> = path.iter().map(String::as_str).collect();
    let absent = pod.pointer(add.path.as_str()).is_none_or(Value::is_null);
    match path[..] {
        ["metadata"] | ["metadata", "labels" | "annotations"] => assert!(absent, "{add:?}"),
        ["spec", "initContainers" | "containers" | "volumes" | "imagePullSecrets"] => {
            assert!(absent, "{add:?}")
        }
        ["spec", "initContainers" | "containers" | "volumes" | "imagePullSecrets", "-"] => {}
        ["metadata", "labels", name] => assert_eq!(name, key::INJECTED),
        ["metadata", "annotations", name] => assert!(name == key::STATUS || name == key::CONFIG, "{add:?}"),
        _ => panic!("touches {}", add.path),
    }
}

/// The document without what injection added to it, given what it was before.
fn without_ours(mut pod: Value, before: &Value) -> Value {
    for list in ["initContainers", "containers", "volumes", "imagePullSecrets"] {
        let known = before["spec"][list].as_array().map_or(0, Vec::len);
        if let Some(items) = pod["spec"][list].as_array_mut() {
            assert!(items[known..].iter().all(|item| item["name"] == CONTAINER), "{list}: {items:?}");
            assert!(items.len() <= known + 1, "{list} grew by more than one");
            items.truncate(known);
        }
    }
    for (map, ours) in [("labels", &[key::INJECTED][..]), ("annotations", &[key::STATUS, key::CONFIG])] {
        for key in ours {
            let was = before["metadata"][map].get(key);
            if let Some(entries) = pod["metadata"][map].as_object_mut() {
                match was {
                    Some(was) => entries.insert((*key).to_owned(), was.clone()),
                    None => entries.remove(*key),
                };
            }
        }
    }
    pod
}

/// Absent, null and empty are the same to the API server where a list or map is expected.
fn without_empty(mut pod: Value) -> Value {
    let prune = |parent: &mut Value, fields: &[&str]| {
        if let Value::Object(parent) = parent {
            let empty = |value: &Value| value.is_null() || *value == json!([]) || *value == json!({});
            parent.retain(|field, value| !(fields.contains(&field.as_str()) && empty(value)));
        }
    };
    prune(&mut pod["metadata"], &["labels", "annotations"]);
    prune(&mut pod["spec"], &["initContainers", "volumes", "imagePullSecrets"]);
    prune(&mut pod, &["metadata"]);
    pod
}

fn ours(pod: &Value) -> Option<&Value> {
    let lists = ["initContainers", "containers"].into_iter().filter_map(|list| pod["spec"][list].as_array());
    lists.flatten().find(|container| container["name"] == CONTAINER)
}

proptest! {
    #[test]
    fn whatever_a_pod_is_like_its_answer_is_sound(pod in pods::damaged()) {
        for settings in SETTINGS.iter() {
            let once = admit(&pod, settings);
            let twice = admit(&once.pod, settings);
            prop_assert_eq!(&twice.pod, &once.pod, "{} then {}", once.decision, twice.decision);
        }
    }

    #[test]
    fn what_is_not_ours_is_unchanged(pod in pods::sound()) {
        for settings in SETTINGS.iter() {
            let once = admit(&pod, settings);
            prop_assert_eq!(without_empty(without_ours(once.pod, &pod)), without_empty(pod.clone()), "{}", once.decision);
        }
    }

    #[test]
    fn a_decided_skip_adds_its_reason_and_nothing_else(pod in pods::sound()) {
        for settings in SETTINGS.iter() {
            let once = admit(&pod, settings);
            if once.decision != "injected" {
                let mut expected = pod.clone();
                if once.patch.is_some() {
                    expected["metadata"]["annotations"][key::STATUS] = json!(once.decision);
                }
                prop_assert_eq!(once.pod, expected);
            }
        }
    }

    #[test]
    fn injecting_what_the_api_server_stored_changes_nothing(pod in pods::sound()) {
        for settings in SETTINGS.iter() {
            // The first call sees a defaulted pod already; goldens and the CLI do not.
            for pod in [pod.clone(), stored(&pod)] {
                let once = admit(&pod, settings);
                let kept = stored(&once.pod);
                let twice = admit(&kept, settings);
                prop_assert_eq!(twice.pod, kept, "{} then {}", once.decision, twice.decision);
            }
        }
    }

    #[test]
    fn the_quality_of_service_is_kept(pod in pods::sound()) {
        let before = qos(&pod);
        for settings in SETTINGS.iter() {
            let after = qos(&admit(&pod, settings).pod);
            let kept = after == before || (before, after) == (Qos::BestEffort, Qos::Burstable);
            prop_assert!(kept, "{:?} became {:?}", before, after);
        }
    }

    #[test]
    fn the_sidecar_takes_nothing_from_the_desktop(pod in pods::sound()) {
        for settings in SETTINGS.iter() {
            let once = admit(&pod, settings);
            if once.decision != "injected" {
                continue;
            }
            let stored = stored(&once.pod);
            let ours = ours(&stored).unwrap();
            for list in ["requests", "limits"] {
                let amounts = ours["resources"][list].as_object().into_iter().flatten();
                let mut names = amounts.map(|(name, _)| name.as_str());
                prop_assert!(names.all(|name| ["cpu", "memory"].contains(&name)), "{}", ours);
            }
            prop_assert_eq!(&ours["resources"]["requests"], &ours["resources"]["limits"]);
            let mounts = ours["volumeMounts"].as_array().unwrap();
            prop_assert!(mounts.iter().all(|mount| mount["name"] == CONTAINER), "{}", ours);
            let volumes = stored["spec"]["volumes"].as_array().unwrap();
            prop_assert_eq!(volumes.iter().filter(|volume| volume["name"] == CONTAINER).count(), 1);
            let port = &ours["ports"][0]["containerPort"];
            prop_assert_eq!(ports(&stored["spec"]).filter(|declared| *declared == port).count(), 1);
        }
    }
}

fn ports(spec: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers"].into_iter().filter_map(|list| spec[list].as_array());
    let ports = lists.flatten().filter_map(|container| container["ports"].as_array()).flatten();
    ports.map(|port| &port["containerPort"])
}

/// The properties are worth what the pods are like: about half are injected, and every decision is met.
#[test]
fn the_pods_are_of_every_kind() {
    let mut runner = TestRunner::deterministic();
    let (strategy, pods) = (pods::damaged(), 500);
    let mut decisions = BTreeMap::<String, u32>::new();
    for _ in 0..pods {
        let pod = strategy.new_tree(&mut runner).unwrap().current();
        *decisions.entry(admit(&pod, &SETTINGS[0]).decision).or_default() += 1;
    }
    let injected = decisions["injected"];
    assert!((pods * 2 / 5..pods * 7 / 10).contains(&injected), "{decisions:?}");
    for reason in ["opted_out", "host_network", "name_taken", "windows", "undecodable"] {
        assert!(decisions.contains_key(&format!("skipped: {reason}")), "{decisions:?}");
    }
}
